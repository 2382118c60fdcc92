use gantry_pki::ensure::Node;
use gantry_pki::keys::{Family, PrivateKey, PublicKey};
use gantry_pki::{Ca, Cluster, DAY, Layout, Profile, Usage, ca, ensure, kubeconfig, verify};
use jiff::{SignedDuration, Timestamp};
use std::os::unix::fs::PermissionsExt;

fn now() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

fn days(n: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * n)
}

fn cluster() -> Cluster {
    Cluster {
        name: "kubernetes".into(),
        server: "https://127.0.0.1:6443".into(),
        apiserver_names: vec!["localhost".into(), "127.0.0.1".into(), "10.96.0.1".into()],
        dns_domain: "cluster.local".into(),
        nodes: vec![Node { name: "node-1".into(), addresses: vec!["127.0.0.1".into()] }],
        etcd: Some(vec!["10.0.0.1".into()]),
    }
}

#[test]
fn ensure_is_idempotent_and_renews_what_is_due() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let first = ensure(&layout, &cluster(), now()).unwrap();
    assert!(first.created.contains(&"pki/apiserver.crt".to_owned()), "{first:?}");
    assert!(first.created.contains(&"kubelet.conf".to_owned()));
    assert_eq!(first.renewed, Vec::<String>::new());

    let again = ensure(&layout, &cluster(), now() + days(1)).unwrap();
    assert_eq!((again.created.len(), again.renewed.len()), (0, 0), "{again:?}");
    assert_eq!(again.next, first.next);

    let later = ensure(&layout, &cluster(), now() + days(300)).unwrap();
    assert_eq!(later.created, Vec::<String>::new());
    assert_eq!(later.renewed.len() + 4, first.created.len() - 1, "authorities and sa stay: {later:?}");

    let mut moved = cluster();
    moved.apiserver_names.push("api.example.com".into());
    let renamed = ensure(&layout, &moved, now() + days(301)).unwrap();
    assert_eq!(renamed.renewed, ["pki/apiserver.crt"]);

    for path in [layout.ca_key(), layout.sa_key(), layout.admin(), layout.key("apiserver")] {
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
    }
}

#[test]
fn what_ensure_wrote_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    ensure(&layout, &cluster(), now()).unwrap();
    let read = |p: std::path::PathBuf| std::fs::read_to_string(p).unwrap();
    let ca = read(layout.ca_cert());
    for name in ["10.96.0.1", "localhost", "kubernetes.default.svc.cluster.local"] {
        verify::server(&read(layout.cert("apiserver")), &ca, name, now()).unwrap();
    }
    assert!(verify::server(&read(layout.cert("apiserver")), &ca, "elsewhere", now()).is_err());
    let kubelet = kubeconfig::parse(&read(layout.kubeconfig("kubelet"))).unwrap();
    verify::client(&kubelet.cert, &ca, now()).unwrap();
    assert!(verify::client(&kubelet.cert, &ca, now() + days(400)).is_err(), "expired");
    assert!(
        verify::client(&read(layout.cert("front-proxy-client")), &ca, now()).is_err(),
        "another authority"
    );
    let facts = verify::facts(&kubelet.cert).unwrap();
    assert_eq!(
        (&*facts.common_name, &facts.organizations[..]),
        ("system:node:node-1", &["system:nodes".to_owned()][..])
    );
}

#[test]
fn requests_are_signed() {
    let ca = Ca::create("kubernetes", now(), DAY * 10).unwrap();
    let key = PrivateKey::generate().unwrap();
    let csr = ca::request(&key, &Profile::client("system:node:a", Some("system:nodes"))).unwrap();
    let cert = ca.sign_request(&csr, Usage::Client, DAY * 365, now()).unwrap();
    verify::client(&cert, ca.cert(), now()).unwrap();
    let facts = verify::facts(&cert).unwrap();
    assert_eq!(facts.common_name, "system:node:a");
    assert_eq!(facts.not_after, now() + days(10), "never beyond the authority");
}

/// Keys as openssl writes them: PKCS#1, SEC1, PKCS#8.
#[test]
fn every_key_form_loads() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &str| {
        let out = std::process::Command::new("openssl")
            .current_dir(dir.path())
            .args(args.split(' '))
            .output()
            .unwrap();
        assert!(out.status.success(), "{args}: {}", String::from_utf8_lossy(&out.stderr));
    };
    run("genrsa -traditional -out rsa1.pem 2048");
    run("pkcs8 -topk8 -nocrypt -in rsa1.pem -out rsa8.pem");
    run("rsa -in rsa1.pem -pubout -out rsa.pub");
    run("rsa -in rsa1.pem -RSAPublicKey_out -out rsa1.pub");
    run("ecparam -name prime256v1 -genkey -noout -out ec1.pem");
    run("ec -in ec1.pem -pubout -out ec.pub");
    run("ecparam -name secp384r1 -genkey -noout -out ec384.pem");
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    for (name, family) in [
        ("rsa1.pem", Family::Rsa),
        ("rsa8.pem", Family::Rsa),
        ("ec1.pem", Family::EcP256),
        ("ec384.pem", Family::EcP384),
    ] {
        let key = PrivateKey::from_pem(&read(name)).unwrap();
        assert_eq!(key.family, family, "{name}");
        assert_eq!(PublicKey::all_from_pem(&read(name)).unwrap(), [key.public().unwrap()]);
    }
    let rsa = PrivateKey::from_pem(&read("rsa1.pem")).unwrap().public().unwrap();
    assert_eq!(PublicKey::all_from_pem(&(read("rsa.pub") + &read("rsa1.pub"))).unwrap(), [rsa.clone(), rsa]);
    let ec = PrivateKey::from_pem(&read("ec1.pem")).unwrap().public().unwrap();
    assert_eq!(PublicKey::all_from_pem(&read("ec.pub")).unwrap(), [ec]);
    // An authority made by openssl signs for us.
    run("req -x509 -key rsa1.pem -out ca.pem -days 3650 -subj /CN=kubernetes-ca");
    let now = Timestamp::now();
    let ca = Ca::load(&read("ca.pem"), &read("rsa1.pem")).unwrap();
    let issued = ca.issue(&Profile::client("jane", Some("devs")), now).unwrap();
    verify::client(&issued.cert, ca.cert(), now).unwrap();
}
