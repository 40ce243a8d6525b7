"""Reads OCI profiles with the official SDK and prints what it makes of each, as one JSON object.

    python profiles.py FOLDER

Each `NAME.config` of the folder is read; the profile is `DEFAULT`.
"""

import json
import pathlib
import sys
import warnings

import oci

warnings.simplefilter("ignore")
read = {}
for file in pathlib.Path(sys.argv[1]).glob("*.config"):
    try:
        config = oci.config.from_file(str(file))
        oci.config.validate_config(config)
        key = oci.signer.load_private_key_from_file(config["key_file"], config["pass_phrase"])
        read[file.stem] = {"tenancy": config["tenancy"], "region": config["region"], "key": type(key).__name__}
    except Exception as error:
        read[file.stem] = {"error": f"{type(error).__name__}: {error}"}
print(json.dumps(read))
