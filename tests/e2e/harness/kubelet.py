"""A mounted ConfigMap or Secret, swapped exactly as the kubelet does it (pkg/volume/util/atomic_writer.go)."""

import datetime
import os
import shutil
import tempfile
from pathlib import Path


class Volume:
    """A folder whose files are links into `..data`, itself a link to a folder of the present version."""

    def __init__(self, folder, files):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        self.write(files)

    def __getitem__(self, name):
        return str(self.folder / name)

    def write(self, files):
        """The kubelet's steps 5 to 12: a new folder, its files, their modes, the link renamed over the old one, visible names, the old
        folder gone."""
        data = self.folder / "..data"
        old = os.readlink(data) if data.is_symlink() else None
        stamp = datetime.datetime.now(datetime.timezone.utc).strftime("..%Y_%m_%d_%H_%M_%S.")
        fresh = Path(tempfile.mkdtemp(prefix=stamp, dir=self.folder))
        fresh.chmod(0o755)
        for name, content in files.items():
            path = fresh / name
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            path.chmod(0o640)
        link = self.folder / "..data_tmp"
        link.symlink_to(fresh.name)
        link.rename(data)
        for name in files:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        for entry in self.folder.iterdir():
            if not entry.name.startswith("..") and entry.name not in files:
                entry.unlink()
        if old:
            shutil.rmtree(self.folder / old)
