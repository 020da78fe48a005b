"""An agent for tests around OpenTelemetry's OpAMP client for Python, which speaks HTTP only.

It prints what happens as one JSON line each and answers configurations on demand.
It ends when told by a signal, or when the pipe on its standard input closes, so that
it never outlives the test that started it.
"""

import argparse
import base64
import json
import os
import signal
import stat
import sys
import threading
import uuid

from opentelemetry._opamp.agent import OpAMPAgent
from opentelemetry._opamp.callbacks import OpAMPCallbacks
from opentelemetry._opamp.client import OpAMPClient
from opentelemetry._opamp.proto import opamp_pb2

REFUSAL = "refused on demand"


class Witness(OpAMPCallbacks):
    """Prints each event, and answers a configuration as the mode says."""

    def __init__(self, mode):
        self._mode = mode
        self._connected = False

    def on_connect(self, agent, client):
        # Called for each answer: only the first after a failure is an event.
        if not self._connected:
            emit(event="connected")
        self._connected = True

    def on_connect_failed(self, agent, client, error):
        self._connected = False
        emit(event="connect_failed", error=str(error))

    def on_error(self, agent, client, error_response):
        kind = opamp_pb2.ServerErrorResponseType.Name(error_response.type)
        emit(event="server_error", status=kind, error=error_response.error_message)

    def on_message(self, agent, client, message):
        config = message.remote_config
        if config is None:
            return
        emit(event="remote_config", hash=config.config_hash.hex(), files=files(config))
        if self._mode == "apply":
            # The library keeps text only; a body that is none is still seen in the event.
            bodies = {name: f.body.decode("utf-8", "replace") for name, f in config.config.config_map.items()}
            client.update_effective_config(bodies, content_type="text/yaml")
            self._report(agent, client, config, "APPLIED", "")
        elif self._mode == "fail":
            self._report(agent, client, config, "FAILED", REFUSAL)

    def _report(self, agent, client, config, status, error):
        value = opamp_pb2.RemoteConfigStatuses.Value(f"RemoteConfigStatuses_{status}")
        client.update_remote_config_status(config.config_hash, value, error)
        # The full state carries the effective configuration as well.
        agent.send(client.build_full_state_message())
        emit(event="status", status=status, hash=config.config_hash.hex(), **({"error": error} if error else {}))


def main():
    options = parse_options()
    client = create_client(options)
    agent = OpAMPAgent(
        interval=options.interval_ms / 1000,
        callbacks=Witness(options.mode),
        client=client,
        initial_backoff=0.2,
    )
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    threading.Thread(target=wait_for_closed_pipe, args=(told,), daemon=True).start()
    emit(event="started", uid=str(uuid.UUID(bytes=client._instance_uid)))
    agent.start()
    told.wait()
    agent.stop(timeout=5)
    emit(event="stopped")
    # Ended here: the library would send a second disconnect at exit.
    os._exit(0)


def parse_options():
    parser = argparse.ArgumentParser(prog="opamp-python-client")
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--uid", type=uuid.UUID)
    parser.add_argument("--attr", type=pair, action="append", default=[])
    parser.add_argument("--header", type=pair, action="append", default=[])
    parser.add_argument("--mode", choices=["apply", "fail", "silent"], default="apply")
    parser.add_argument("--interval-ms", type=int, default=250)
    parser.add_argument("--ca")
    parser.add_argument("--cert")
    parser.add_argument("--key")
    return parser.parse_args()


def create_client(options):
    attributes = dict(options.attr) or {"service.name": "opamp-python-client"}
    client = OpAMPClient(
        endpoint=options.endpoint,
        headers=dict(options.header),
        # Attributes named service.* identify the agent, as with the other witnesses.
        agent_identifying_attributes={k: v for k, v in attributes.items() if k.startswith("service.")},
        agent_non_identifying_attributes={k: v for k, v in attributes.items() if not k.startswith("service.")},
        tls_certificate=options.ca or True,
        tls_client_certificate=options.cert,
        tls_client_key=options.key,
    )
    if options.uid:
        # The library always invents one and offers no other way in.
        client._instance_uid = options.uid.bytes
    return client


def files(config):
    return {
        name: {"contentType": f.content_type, "body": base64.b64encode(f.body).decode()}
        for name, f in config.config.config_map.items()
    }


def wait_for_closed_pipe(told):
    """A terminal or /dev/null on standard input means nothing; the end of a pipe does."""
    mode = os.fstat(0).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        while os.read(0, 4096):
            pass
        told.set()


def pair(text):
    key, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} has no =")
    return key, value


def emit(**event):
    # One write a line: the library calls back from its own threads.
    sys.stdout.write(json.dumps(event, separators=(",", ":")) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
