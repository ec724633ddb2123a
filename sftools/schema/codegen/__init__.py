"""The compiler behind sf-codegen: Avro IDL to .avsc, .avpr and Python classes.

parser.py reads IDL and imported JSON into the model of model.py; to_json.py and to_python.py write it.
"""
