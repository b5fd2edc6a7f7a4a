"""Endings of image files by their format, and the formats that are not read."""

# Pillow's name of each format that is read, and the endings of its files.
ENDINGS = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jfif", ".jpe", ".mpo"),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "WEBP": (".webp",),
    "JPEG2000": (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "AVIF": (".avif", ".avifs"),
    "QOI": (".qoi",),
    "SGI": (".sgi", ".rgb", ".rgba", ".bw"),
    "SUN": (".ras",),
    "PCX": (".pcx",),
    "TGA": (".tga", ".icb", ".vda", ".vst"),  # last, as it has no signature
}
# Further formats that Pillow opens, by the reason why they are not read.
NOT_READ = {
    "several sizes or layers in one file": ("ICO", "ICNS", "CUR", "PSD", "DCX"),
    "textures and brushes": ("DDS", "BLP", "FTEX", "GBR"),
    "text and pictures of the desktop": ("XBM", "XPM", "MSP", "XVTHUMB"),
    "values that Pillow does not scale": ("FITS", "SPIDER", "MCIDAS", "IM", "IMT"),
    "a program must be run": ("EPS", "WMF"),
    "no decoder in Pillow": ("BUFR", "GRIB", "HDF5", "MPEG", "IPTC"),
    "films": ("FLI",),
    "one size only of a photograph": ("PCD", "PIXAR"),
}
# Endings of images that are not read; the message about a label without an image names them.
UNREAD_ENDINGS = (
    *(".heic", ".heif", ".jxl", ".exr", ".hdr", ".dng", ".nef", ".cr2", ".cr3", ".arw", ".raw"),
    *(".psd", ".ico", ".dds", ".fits", ".fit", ".dcm", ".nii", ".svg", ".eps"),
)
# Arrays, which count as images of a folder that has no other ones.
ARRAY_ENDING = ".npy"
IMAGE_ENDINGS = tuple(ending for endings in ENDINGS.values() for ending in endings)
