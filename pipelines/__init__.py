"""The application: files in, files out. One stage a file, each with a `run()`.

Installed and imported as `kerasseg.pipelines`; siblings are imported relatively.
"""
