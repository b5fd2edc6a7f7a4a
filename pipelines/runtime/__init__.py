"""The process and the machine it runs on: allocator, devices, environment, clean processes."""
