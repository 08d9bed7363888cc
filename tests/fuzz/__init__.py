"""Law 11 by force: a harness for random bytes, run by pytest for seconds and by atheris for as long as one likes."""
