"""The three services and the shell that they share. A service never imports another one."""
