"""An HTTP/1.1 server for one ASGI application; limits hold before memory is used."""
