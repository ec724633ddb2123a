cpdef bytes normal(bytes path)
cpdef bytes join(bytes directory, bytes name)
