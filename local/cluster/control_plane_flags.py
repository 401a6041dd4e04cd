"""How the programs of a real control plane are started; pure.

Nothing listens but on the loopback, and etcd on nothing but sockets in the control plane's folder,
which only its owner can enter.
"""

from local.cluster import control_plane_files as files

_CLIENTS, _PEERS = "unix://etcd:1", "unix://peers:1"
_LAST_MINOR_WITH_PORT = 23


def etcd_flags() -> list[str]:
    """Return the flags of an etcd of one member that need not survive a crash."""
    return [
        "--data-dir=data",
        f"--listen-client-urls={_CLIENTS}",
        f"--advertise-client-urls={_CLIENTS}",
        f"--listen-peer-urls={_PEERS}",
        f"--initial-advertise-peer-urls={_PEERS}",
        f"--initial-cluster=default={_PEERS}",
        "--log-level=error",
        "--unsafe-no-fsync",
    ]


def api_server_flags(port: int) -> list[str]:
    """Return the flags of an API server that EKS's would be like: webhook tokens and RBAC."""
    return [
        f"--etcd-servers={_CLIENTS}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        f"--tls-cert-file={files.SERVER}.pem",
        f"--tls-private-key-file={files.SERVER}.key",
        f"--client-ca-file={files.AUTHORITY}",
        "--authorization-mode=RBAC",
        f"--token-auth-file={files.TOKENS}",
        f"--authentication-token-webhook-config-file={files.WEBHOOK}",
        "--authentication-token-webhook-version=v1",
        "--authentication-token-webhook-cache-ttl=0s",
        f"--kubelet-certificate-authority={files.AUTHORITY}",
        f"--kubelet-client-certificate={files.SERVER}.pem",
        f"--kubelet-client-key={files.SERVER}.key",
        "--kubelet-preferred-address-types=InternalIP",
        f"--audit-policy-file={files.AUDIT_POLICY}",
        f"--audit-log-path={files.AUDIT_LOG}",
        # No pod here has a service account, but the server wants to know how it would sign for one.
        "--disable-admission-plugins=ServiceAccount",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={files.SERVICE_ACCOUNTS}.pem",
        f"--service-account-signing-key-file={files.SERVICE_ACCOUNTS}.key",
        "--service-cluster-ip-range=10.0.0.0/24",
    ]


def controller_manager_flags(minor: int) -> list[str]:
    """Return the flags of the controllers that pods, and the ends of things, depend on.

    `minor` is Kubernetes' minor version: until 1.23 there is an open port to switch off.
    """
    return [
        f"--kubeconfig={files.CONTROLLERS}",
        "--controllers=deployment,replicaset,statefulset,resourcequota,garbagecollector,namespace",
        "--leader-elect=false",
        "--secure-port=0",
        *(["--port=0"] if minor <= _LAST_MINOR_WITH_PORT else []),
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    ]
