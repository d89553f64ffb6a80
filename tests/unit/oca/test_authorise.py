"""From target and headers to an object key, with tokens that steering's own signer made."""

from __future__ import annotations

import pytest

from contracts.clientnetwork import import_key
from contracts.problem import Problem
from contracts.token import KeyRing
from oca.edge.authorise import Authoriser, Refused, Route
from steering.keys import Paths, Signer, make

NOW = 1_800_000_000.0
KEY = "tt1/720p/video.mp4"


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    paths = Paths(tmp_path_factory.mktemp("steering"))
    make(paths, new_api_key=False)
    return paths


@pytest.fixture(scope="module")
def token(paths: Paths) -> str:
    return Signer.load(paths).sign("tt1", "session-1", NOW, 100)[0]


@pytest.fixture
def authoriser(paths: Paths) -> Authoriser:
    return Authoriser("isp-a1", KeyRing.from_jwks(paths.public.read_bytes()), KeyRing({}), required=True)


def route(
    authoriser: Authoriser, target: str, now: float = NOW, trusted: bool = True, **headers: str
) -> Route:
    named = {name.encode(): value for name, value in headers.items()}
    return authoriser.route(target.encode("latin-1"), named, now, trusted, "198.51.100.7")


def refusal(
    authoriser: Authoriser, target: str, now: float = NOW, trusted: bool = True, **headers: str
) -> Refused:
    with pytest.raises(Refused) as refused:
        route(authoriser, target, now, trusted, **headers)
    return refused.value


def test_a_token_is_taken_from_path_query_cookie_and_authorization(
    authoriser: Authoriser, token: str
) -> None:
    for target, headers in (
        (f"/URISigningPackage={token}/{KEY}", {}),
        (f"/{KEY}?URISigningPackage={token}", {}),
        (f"/{KEY}?a=1&URISigningPackage={token}&b=2", {}),
        (f"/{KEY}", {"cookie": f"x=1; URISigningPackage={token}; y=2"}),
        (f"/{KEY}", {"authorization": f"Bearer {token}"}),
        (f"/{KEY}", {"authorization": f"bearer  {token} "}),
        (f"http://edge.example/URISigningPackage={token}/{KEY}", {}),
        (f"/URISigningPackage%3D{token}/{KEY}", {}),
        (f"/URISigningPackage={token}/tt1/720p/video%2Emp4", {}),
    ):
        found = route(authoriser, target, **headers)
        assert (found.key, found.expires_at) == (KEY, NOW + 100), target


def test_the_first_of_several_tokens_counts_even_when_it_is_wrong(authoriser: Authoriser, token: str) -> None:
    bad = token[:-4] + "AAAA"
    assert (
        refusal(authoriser, f"/URISigningPackage={bad}/{KEY}?URISigningPackage={token}").problem
        is Problem.TOKEN_REFUSED
    )
    assert (
        refusal(authoriser, f"/{KEY}?URISigningPackage={bad}", cookie=f"URISigningPackage={token}").problem
        is Problem.TOKEN_REFUSED
    )


@pytest.mark.parametrize(
    "path",
    ["tt1/../tt2/a.mp4", "tt1/%2e%2e/tt2/a.mp4", "tt1%2f..%2ftt2/a.mp4", "tt1//a.mp4", "tt1/./a.mp4", "tt1",
     "tt1/", "", "tt1/a%00b.mp4", "tt1/a%0d%0ab", "tt1/%252e%252e/a", "tt1\\..\\a", "tt1/%ff%fe", "/tt1/a.mp4"],
)  # fmt: skip
def test_no_spelling_leaves_the_key_space(authoriser: Authoriser, token: str, path: str) -> None:
    refused = refusal(authoriser, f"/URISigningPackage={token}/{path}")
    assert refused.problem is Problem.BAD_KEY


@pytest.mark.parametrize("target", ["*", "tt1/a.mp4", "edge:8080", f"/{KEY}#x", "ftp://a/b", ""])
def test_what_is_no_path_is_refused(authoriser: Authoriser, target: str) -> None:
    assert refusal(authoriser, target).problem is Problem.BAD_KEY


def test_another_title_is_refused_though_its_name_begins_so(authoriser: Authoriser, token: str) -> None:
    for title in ("tt10", "tt", "TT1", "tt1x"):
        assert (
            refusal(authoriser, f"/URISigningPackage={token}/{title}/a.mp4").problem is Problem.TOKEN_REFUSED
        )


def test_what_was_granted_ends_with_the_token(authoriser: Authoriser, token: str) -> None:
    target = f"/URISigningPackage={token}/{KEY}"
    assert route(authoriser, target, NOW + 99.9).key == KEY
    for later in (NOW + 100, NOW + 1000):
        assert "expired" in str(refusal(authoriser, target, later))


def test_a_revoked_session_is_refused_though_its_requests_were_remembered(
    authoriser: Authoriser, token: str
) -> None:
    target = f"/URISigningPackage={token}/{KEY}"
    assert route(authoriser, target).key == KEY
    assert authoriser.revoke(frozenset({"session-1"}))
    assert not authoriser.revoke(frozenset({"session-1"}))
    assert "revoked" in str(refusal(authoriser, target))
    assert authoriser.revoke(frozenset({"another"}))
    assert route(authoriser, target).key == KEY


def test_who_is_not_trusted_gets_no_signature_checked(authoriser: Authoriser, token: str) -> None:
    target = f"/URISigningPackage={token}/{KEY}"
    assert refusal(authoriser, target, trusted=False).problem is Problem.RATE
    assert route(authoriser, target).key == KEY
    # A token that was found good stays so, for any of its title's objects.
    assert (
        route(authoriser, f"/URISigningPackage={token}/tt1/other.mp4", trusted=False).key == "tt1/other.mp4"
    )


def test_a_token_that_is_bound_to_a_network_is_refused_from_another_though_remembered(paths: Paths) -> None:
    keys = KeyRing.from_jwks(paths.public.read_bytes())
    network_key = import_key(paths.network.read_bytes())
    bound = Authoriser("isp-a1", keys, KeyRing({}), required=True, network_key=network_key)
    signer = Signer.load(paths, bind_networks=True)
    token, _ = signer.sign("tt1", "session-1", NOW, 100, "198.51.100.200")
    target = f"/URISigningPackage={token}/{KEY}"
    assert route(bound, target).key == KEY
    for _ in range(2):
        with pytest.raises(Refused, match="another network"):
            bound.route(target.encode(), {}, NOW, True, "203.0.113.1")
    assert route(bound, target).key == KEY


def test_without_a_token_it_says_where_one_may_stand(authoriser: Authoriser) -> None:
    refused = refusal(authoriser, f"/{KEY}")
    assert refused.problem is Problem.TOKEN_MISSING
    assert "URISigningPackage" in str(refused)


def test_a_lab_needs_no_token() -> None:
    open_to_all = Authoriser("isp-a1", KeyRing({}), KeyRing({}), required=False)
    assert route(open_to_all, f"/{KEY}").key == KEY
    assert refusal(open_to_all, "/tt1/../x").problem is Problem.BAD_KEY


def test_memory_is_bounded(authoriser: Authoriser, token: str) -> None:
    for number in range(120_000):
        route(authoriser, f"/URISigningPackage={token}/tt1/{number}.mp4")
        if number < 20_000:
            refusal(authoriser, f"/URISigningPackage=x{number}/{KEY}")
    assert len(authoriser._routes) <= 98_304
    assert len(authoriser._grants) == 1
    assert len(authoriser._refusals) <= 8192
