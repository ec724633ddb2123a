"""Live capture: the running system as the bytes of a scap capture."""
