"""An HTTP/1.1 server for one application, which enforces limits before memory is used."""
