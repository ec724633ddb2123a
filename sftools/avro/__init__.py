"""Avro as SysFlow uses it. Writing: encoder_cy, container, outputs. Reading: blocks, plan, decoder_cy."""
