"""The code of runs: what differs from its commit, whatever git is set to; what is no secret; and
records that somebody else has written."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

import datasnap
from datasnap.errors import DatasnapError, UsageError
from datasnap.ml.reproducing.venv import create_venv
from datasnap.ml.runs import code as code_module
from datasnap.ml.runs import tables
from datasnap.ml.runs.code import Code, recorded_code, this_code
from datasnap.ml.runs.environment import this_environment
from datasnap.ml.runs.launch import launch
from datasnap.ml.runs.masking import hidden_words, masked, masked_command, masked_url
from datasnap.repository import Repository

COMMIT = "0123456789" * 4


def git(folder: Path, *words: str) -> str:
    names = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    command = ["git", "-C", str(folder), *names, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q")
    monkeypatch.chdir(folder)
    return folder


def commit(folder: Path, **files: bytes) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "files")


def test_a_patch_gives_every_byte_back_whatever_git_is_set_to(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / ".gitattributes").write_text("notebook diff=up\n")
    text = b"".join(b"line %d\n" % number for number in range(9))
    commit(project, notebook=text, latin=b"# caf\xe9\n", binary=b"\0\1" * 99, gone=b"x", same=b"s")
    for name, value in (
        *(("diff.noprefix", "true"), ("diff.context", "0"), ("diff.up.textconv", "tr a-z A-Z <")),
        *(("color.ui", "always"), ("diff.external", "false"), ("apply.whitespace", "error")),
    ):
        git(project, "config", name, value)
    monkeypatch.setenv("GIT_DIFF_OPTS", "--unified=0")
    new = {"notebook": text.replace(b"5", b"5 \t "), "latin": b"# caf\xe9\xe9\r\n"}
    new["binary"] = bytes(range(256))
    for name, content in new.items():
        (project / name).write_bytes(content)
    (project / "gone").unlink()
    (project / "same").touch()
    found = this_code(project)
    assert not found.cut
    assert b"same" not in found.diff
    recorded = recorded_code(msgspec.json.encode(found).decode())
    assert recorded == found
    git(project, "checkout", "-q", ".")
    command = ["git", "apply", "--whitespace=nowarn", "-"]
    subprocess.run(command, input=recorded.diff, check=True, capture_output=True)
    assert {name: (project / name).read_bytes() for name in new} == new
    assert not (project / "gone").exists()


def test_what_git_cannot_tell_is_not_taken_for_clean(project: Path) -> None:
    commit(project, a=b"1")
    assert not this_code(project).dirty
    blob = git(project, "rev-parse", "HEAD:a").strip()
    (project / ".git/objects" / blob[:2] / blob[2:]).unlink()
    (project / "a").write_bytes(b"2")
    found = this_code(project)
    assert (found.diff, found.cut, found.dirty) == (b"", True, True)


def test_untracked_files_that_are_not_listed_are_known_to_be_there(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_module, "MAX_UNTRACKED", 2)
    commit(project, a=b"1")
    for name in "xyz":
        (project / name).touch()
    found = this_code(project)
    assert (found.untracked, found.unlisted) == (("x", "y"), True)


@pytest.mark.parametrize(
    "code",
    [
        *(Code("/r", commit) for commit in ("--output=/tmp/x", "HEAD", COMMIT[1:], COMMIT + "\n")),
        *(Code(root, COMMIT) for root in ("", "r", "/a/..", "--upload-pack=x")),
        *(Code("/r", COMMIT, remote=url) for url in ("-uevil", "https://a\x1b[2J")),
        *(Code("/r", COMMIT, untracked=(name,)) for name in ("/etc/passwd", "a/../../b", "..")),
    ],
)
def test_code_that_no_datasnap_has_recorded_is_none(code: Code) -> None:
    assert recorded_code(msgspec.json.encode(code).decode()) == Code()
    sound = Code("/r", COMMIT, "-".join("main"), "git@host:a", untracked=("a..b", "-c"))
    assert recorded_code(msgspec.json.encode(sound).decode()) == sound


def test_code_with_its_diff_as_text_is_read_as_it_was_recorded_once() -> None:
    old = {"root": "/r", "commit": COMMIT, "diff": "+é", "untracked": ["n"]}
    expected = Code("/r", COMMIT, diff="+é".encode(), untracked=("n",))
    assert recorded_code(json.dumps(old)) == expected


def test_a_record_passes_no_options_to_git(repo: Repository, project: Path, tmp_path: Path) -> None:
    commit(project, a=b"1")
    rows = []
    for name, id in (("one", f"--output={tmp_path / 'pwned'}"), ("two", "HEAD")):
        row = {"run": name, "seq": 0, "name": name, "status": "finished"}
        code = msgspec.json.encode(Code(str(project), id)).decode()
        rows.append({**row, "started": datetime.now(UTC), "code": code})
    made = tables.table_of(tables.RUNS, rows)
    tables.add(repo, lambda tx: {tables.RUNS: made}, "from elsewhere")
    before = sorted(tmp_path.iterdir())
    assert repo.compare_runs("one", "two").commits == ()
    assert sorted(tmp_path.iterdir()) == before


def test_a_record_passes_no_options_to_pip(tmp_path: Path) -> None:
    packages = {"--index-url=http://example.org/": "1"}
    environment = msgspec.structs.replace(this_environment(), packages=packages)
    with pytest.raises(DatasnapError, match="cannot install"):
        create_venv(environment, tmp_path / "venv")
    assert not (tmp_path / "venv").exists()


def test_commits_and_files_between_two_runs(repo: Repository, project: Path) -> None:
    for name in ("one", "two"):
        commit(project, **{name: b"x"})
        with datasnap.run(name, repo=repo):
            pass
    git(project, "config", "log.showSignature", "true")
    found = repo.compare_runs("one", "two")
    assert [line.partition(" ")[2] for line in found.commits] == ["files"]
    assert found.files == ("A\ttwo",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no postgresql://u:p@ss/x@db:5432/n", "no postgresql://<masked>@db:5432/n"),
        ("https://host:8080/x@y", "https://host:8080/x@y"),
        ("GET https://host/x?token=abc&n=1", "GET https://host/x?token=<masked>&n=1"),
        ("host=db password=abc user=ada", "host=db password=<masked> user=ada"),
        ("{'api_key': 'a b', 'lr': 0.1}", "{'api_key': <masked>, 'lr': 0.1}"),
        ("Authorization: Bearer abc123def456", "Authorization: Bearer <masked>"),
        ("login ghp_0123456789abcdefghij failed", "login <masked> failed"),
        ("KeyError: 'token'", "KeyError: 'token'"),
        ("unexpected token: foo", "unexpected token: foo"),
        ("401: bad token: abc, X-Api-Key: S", "401: bad token: <masked>, X-Api-Key: <masked>"),
        ("{'Authorization': 'Basic dXNlcjpwYXNz'}", "{'Authorization': 'Basic <masked>'}"),
        (r"""{"password": "a\"b c", "lr": 1}""", '{"password": <masked>, "lr": 1}'),
        ("--password 'never closed", "--password <masked>"),
    ],
)
def test_a_text_is_recorded_without_its_secrets(text: str, expected: str) -> None:
    assert masked(text) == expected


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("t --api-key=S --password 12 --lr 3", "t --api-key=<masked> --password <masked> --lr 3"),
        (
            "env WANDB_API_KEY=S python db.password=S",
            "env WANDB_API_KEY=<masked> python db.password=<masked>",
        ),
        ("t --hub_token S --x-key a1b2c3d4e5f6a7b8", "t --hub_token <masked> --x-key <masked>"),
        *((same, same) for same in ("t --key id --sort-key user_id --max-tokens 512",)),
        *((same, same) for same in ("t --max-token 5 max_token=5 --glob *** --token-count 7",)),
        *((same, same) for same in ("t --tokenizer bert --pad-token x --secret -v token=none",)),
    ],
)
def test_a_command_is_recorded_without_its_secrets(command: str, expected: str) -> None:
    assert " ".join(masked_command(command.split())) == expected
    whole = "python t.py --password S"
    assert masked_command(["sh", "-c", whole]) == ("sh", "-c", "python t.py --password <masked>")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--password=two words"], ["--password=<masked>"]),
        (["db.password=two words\n"], ["db.password=<masked>"]),
        (["--password", '", words'], ["--password", "<masked>"]),
        (["--header", "X-Api-Key: abcdef"], ["--header", "X-Api-Key: <masked>"]),
        (["-H", "Authorization: Basic dXNl"], ["-H", "Authorization: Basic <masked>"]),
        (["--glob", "***", "--token=true"], ["--glob", "***", "--token=true"]),
    ],
)
def test_a_secret_goes_to_the_end_of_its_word(words: list[str], expected: list[str]) -> None:
    command = masked_command(words)
    assert list(command) == expected
    assert masked_command(command) == command
    assert bool(hidden_words(command)) == (words != expected)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://user:p@ss@host/x", "https://host/x"),
        ("https://token@host/x?token=abc", "https://host/x"),
        ("ssh://git:pw@host:22/x", "ssh://git@host:22/x"),
        *((same, same) for same in ("git@host:a/b.git", "/home/ada/my rides", "file:///x")),
    ],
)
def test_the_url_of_code_is_recorded_without_passwords(url: str, expected: str) -> None:
    assert masked_url(url) == expected


def test_no_secret_of_a_run_is_recorded_and_reproduce_says_that_it_lacks_one(
    repo: Repository, project: Path
) -> None:
    commit(project, a=b"1")
    git(project, "remote", "add", "origin", "https://ada:hunt@er2@example.org/rides.git")
    fails = "import datasnap\nwith datasnap.run(): raise OSError('no db://ada:hunter2@host/x')"
    done = launch([sys.executable, "-c", fails, "--api-key=hunter2", "--password", "hunter2"],
                  repo=repo)  # fmt: skip
    run = repo.run_record(done.run)
    assert run.error == "OSError: no db://<masked>@host/x"
    assert run.code.remote == "https://example.org/rides.git"
    for name in tables.SCHEMAS:
        said = json.dumps(tables.read(repo, name).to_pylist(), default=str)
        assert "'hunter2" not in said
        assert "er2@" not in said
    with pytest.raises(
        UsageError, match=r"are not recorded.*: .*//<masked>, --api-key=<masked>, --password <"
    ):
        repo.reproduce(run.id)


def test_a_run_in_a_folder_that_is_gone_is_recorded(
    repo: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with datasnap.run("here", repo=repo) as run:
        pass
    monkeypatch.undo()
    record = repo.run_record(run.id)
    assert (record.status, record.folder, record.code) == ("finished", "", Code())


def test_an_environment_is_the_same_in_every_job_that_computes_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashes = []
    for number in ("1", "2"):
        for name in ("SLURM_JOB_ID", "RANK", "LOCAL_RANK", "CONDA_DEFAULT_ENV"):
            monkeypatch.setenv(name, number)
        hashes.append(this_environment().hash)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    hashes.append(this_environment().hash)
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("true --log=a.sh --nproc_per_node 4 train.py --config base.yaml", "train"),
        ("true -m pkg.train x", "pkg.train"),
        ("true -c print(1)", "true"),
        ("true all", "all"),
        ("true", "true"),
    ],
)
def test_a_command_is_called_by_what_it_runs(repo: Repository, command: str, name: str) -> None:
    assert repo.run_record(launch(command.split(), repo=repo).run).name == name
