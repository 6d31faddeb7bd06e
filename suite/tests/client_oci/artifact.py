"""What people write with the oras library: push a file with a subject's digest to it, and pull it again."""

import os
import sys

import oras.client

what, host, repository, tls, user, password = sys.argv[1:7]
# The library asks for a token of the challenge, or shows the password on each request.
backend = "token" if what.startswith("token") else "basic"
client = oras.client.OrasClient(hostname=host, insecure=tls != "tls", auth_backend=backend)
if user:
    client.login(hostname=host, username=user, password=password, tls_verify=True)
target = f"{host}/{repository}:1"
if what.endswith("push"):
    with open("hello.txt", "w") as file:
        file.write("hello from oras")
    answer = client.push(target=target, files=["hello.txt"])
    print(answer.status_code, answer.headers.get("Docker-Content-Digest"))
else:
    os.makedirs("out", exist_ok=True)
    for file in client.pull(target=target, outdir="out", overwrite=True):
        print(open(file).read())
