"""The pods and Deployments of the contract tests: Python programs that the local kubelet runs."""

import textwrap

from local.cluster.resources import Json

IMAGE = "keyturn/test:1"

WEB_SERVER = textwrap.dedent(
    """
    import http.server, os, signal, threading

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        def do_GET(self):
            body = (os.environ["HOSTNAME"] + " " + os.environ.get("COLOUR", "")).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
    server.daemon_threads = False
    end = lambda *_: threading.Thread(target=server.shutdown).start()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if "STUBBORN" in os.environ else end)
    print("listening")
    server.serve_forever()
    server.server_close()
    """
)


def container(code: str = WEB_SERVER, **more: object) -> Json:
    """A container that runs a Python program."""
    command = ["python", "-c", code]
    return {"name": "app", "image": IMAGE, "command": command, **more}


def web_container(**more: object) -> Json:
    """A container that serves HTTP and is probed for readiness."""
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    return {**container(readinessProbe=probe), **more}


def pod(name: str, *containers: Json, grace_seconds: int = 5) -> Json:
    spec = {"containers": list(containers), "terminationGracePeriodSeconds": grace_seconds}
    return {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}


def deployment(name: str, *containers: Json, replicas: int = 2, **spec: object) -> Json:
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": list(containers), "terminationGracePeriodSeconds": 5},
    }
    selector = {"matchLabels": {"app": name}}
    return {
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": selector, "template": template, **spec},
    }


def restart(stamp: str) -> Json:
    """The patch that restarts a deployment's pods."""
    annotations = {"kubectl.kubernetes.io/restartedAt": stamp}
    return {"spec": {"template": {"metadata": {"annotations": annotations}}}}
