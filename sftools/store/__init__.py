"""Where traces are kept. To read from: s3. To write to, as objects asks for it: boto_store, minio_store, directory."""
