"""An SFTP server of this machine's files, for one user by password: `sftp_server.py USER PASSWORD`.

It says on which port, and what its key is. What is called silent.jpg is opened, and never read.
"""

import asyncio
import os
import sys

import asyncssh

USER, PASSWORD = sys.argv[1:]


class OneUser(asyncssh.SSHServer):
    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == (USER, PASSWORD)


class Files(asyncssh.SFTPServer):
    async def read(self, file_obj: object, offset: int, size: int) -> bytes:
        if os.fsdecode(getattr(file_obj, "name", "")).endswith("silent.jpg"):
            await asyncio.Event().wait()
        read = super().read(file_obj, offset, size)
        assert isinstance(read, bytes)
        return read


async def main() -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.listen(
        "127.0.0.1", 0, server_host_keys=[key], server_factory=OneUser, sftp_factory=Files
    )
    print(server.get_port(), key.export_public_key().decode().strip(), flush=True)
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main())
