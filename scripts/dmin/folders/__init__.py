"""What lies in a user's folder of images: its files, its layout, its captions, how many rows it has.

Rules count rows when the config is read, and jobs read them, so that both see the same. Only the standard library is
imported, and imports within are relative, as those of ``workflow``.
"""
