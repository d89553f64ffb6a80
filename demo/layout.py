"""Where everything of the demo is: ports, folders, and the fleet it plays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parent.parent
HOST: Final = "127.0.0.1"
BUCKET: Final = "nearcast"
LARGEST_OFFSET: Final = 56_000
"""Beyond, the highest port (9083) would be no port any more."""


@dataclass(frozen=True, slots=True)
class Box:
    """One appliance of the demo."""

    id: str
    site: str
    tier: str
    data_port: int
    admin_port: int
    parent: str | None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.data_port}"

    @property
    def admin(self) -> str:
        return f"http://{HOST}:{self.admin_port}"


@dataclass(frozen=True, slots=True)
class Layout:
    """``root`` holds all that a run leaves behind; ``sockets`` is short, for Unix socket paths are."""

    root: Path
    sockets: Path
    offset: int

    @property
    def boxes(self) -> tuple[Box, ...]:
        # The parent first: an appliance that starts before its parent would log that it is not there.
        return (
            Box("ixp-b1", "ixp-b", "ixp", 8083 + self.offset, 9083 + self.offset, None),
            Box("isp-a1", "isp-a", "isp", 8081 + self.offset, 9081 + self.offset, "ixp-b1"),
            Box("isp-a2", "isp-a", "isp", 8082 + self.offset, 9082 + self.offset, "ixp-b1"),
        )

    @property
    def steering_port(self) -> int:
        return 7080 + self.offset

    @property
    def player_port(self) -> int:
        return 7090 + self.offset

    @property
    def s3_port(self) -> int:
        return 9000 + self.offset

    @property
    def steering(self) -> str:
        return f"http://{HOST}:{self.steering_port}"

    @property
    def player(self) -> str:
        return f"http://{HOST}:{self.player_port}/"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def endpoints(self) -> Path:
        return self.root / "endpoints.json"

    @property
    def credentials(self) -> Path:
        return self.root / "s3-credentials"

    @property
    def steering_key(self) -> Path:
        return self.root / "steering-key"

    @property
    def jwks(self) -> Path:
        """Steering's public keys, which `steering init` puts into its state_dir."""
        return self.root / "steering" / "signing.jwks"

    @property
    def plan_signing_key(self) -> Path:
        """The planner's: `fill init-key` makes it, and its public half beside it."""
        return self.root / "planner" / "plan-signing.jwk"

    @property
    def plan_keys(self) -> Path:
        return self.plan_signing_key.with_suffix(".jwks")

    @property
    def catalog_signing_key(self) -> Path:
        """The publisher's, which another machine may be: made as the planner's."""
        return self.root / "publisher" / "catalog-signing.jwk"

    @property
    def catalog_keys(self) -> Path:
        return self.catalog_signing_key.with_suffix(".jwks")

    def config(self, program: str) -> Path:
        """The configuration file of ``steering``, ``fill``, ``oca-isp-a1``, ``fill-isp-a1``, ..."""
        return self.root / f"{program}.yaml"

    def run_dir(self, box: Box) -> Path:
        return self.sockets / box.id

    def ports(self) -> list[tuple[int, str]]:
        """Every port the demo listens on, and whose it is."""
        return [
            *((box.data_port, f"{box.id}, players") for box in self.boxes),
            *((box.admin_port, f"{box.id}, admin") for box in self.boxes),
            (self.steering_port, "steering"),
            (self.player_port, "player page"),
            (self.s3_port, "S3"),
        ]
