"""`cio-buffer`, and `python -m cio_buffer`."""

from cio_buffer.cli import main

if __name__ == "__main__":
    main()
