//! Every request beside the reference adapter's answer, both on one cluster. The table it makes
//! is `tests/golden/side-by-side.md`; what it says of each request is in [`rows`].

mod answer;
pub(super) mod reference;
mod rows;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use answer::{Answer, Names};
use reference::Reference;
use rows::{Row, Who, rows};

use super::cluster::eventually;
use super::world::World;
use crate::golden;

const OURS: Names = Names { metric: "oci_queue_length", key: "queue", value: "orders" };
/// Built into it, with the value 42.
const THEIRS: Names = Names { metric: "my-external-metric", key: "foo", value: "bar" };

const HEAD: &str = "\
| | request | depthgauge | reference adapter | verdict |
| --- | --- | --- | --- | --- |
";

/// A ServiceAccount that may list metrics, and one that may not.
const ACCOUNTS: &str = "\
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: reader, namespace: shop}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: stranger, namespace: shop}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules: [{apiGroups: [external.metrics.k8s.io], resources: [\"*\"], verbs: [\"*\"]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: shop}]
";

/// What callers show.
struct Credentials {
    token: String,
    stranger: String,
    /// `--cert` and `--key` of curl.
    front_proxy: Vec<String>,
    administrator: Vec<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_answer_is_the_references_or_differs_for_a_reason() {
    let world = World::new("side-by-side", &[], "").await;
    world.oci.queue().put(["one"; 42]);
    let reference = Reference::start(&world).await;
    let ours = SocketAddr::from((Ipv4Addr::LOCALHOST, world.port));
    tokio::task::block_in_place(|| {
        let _server = world.serve();
        world.cluster.apply(ACCOUNTS);
        let credentials = Credentials::of(&world);
        let ask = |row: &Row| (credentials.ask(row, ours, &OURS), credentials.ask(row, reference.address, &THEIRS));
        // Rights and identities reach the two at their own time.
        let rows = rows();
        for title in ["an HPA's read", "JSON", "client certificate"] {
            let row = rows.iter().find(|row| row.title == title).unwrap();
            eventually("both answer with a value", Duration::from_secs(30), || {
                let up = [ours, reference.address].iter().all(|address| TcpStream::connect(address).is_ok());
                up.then(|| ask(row)).filter(|(ours, theirs)| ours.code == "200" && theirs.code == "200")
            });
        }
        let (mut table, mut wrong) = (HEAD.to_owned(), String::new());
        for row in &rows {
            let (ours, theirs) = ask(row);
            judge(row, &ours, &theirs, &mut table, &mut wrong);
        }
        assert!(wrong.is_empty(), "{wrong}");
        golden::check_text("side-by-side.md", &table);
    });
}

fn judge(row: &Row, ours: &Answer, theirs: &Answer, table: &mut String, wrong: &mut String) {
    let differences = ours.differences(theirs).join(", ");
    let verdict = match row.reason {
        Some(reason) => format!("differs in {differences}: {reason}"),
        None => "identical".to_owned(),
    };
    let Row { title, who, method, path, headers, .. } = row;
    let accept = headers.iter().map(|(name, value)| format!("; {name}: {value}")).collect::<String>();
    let request = format!("{}: `{method} {path}{accept}`", who.as_str());
    let cells = [(*title).to_owned(), request, ours.cell(), theirs.cell(), verdict];
    writeln!(table, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | ")).unwrap();

    match (differences.is_empty(), row.reason) {
        (false, None) => writeln!(
            wrong,
            "\n{title:?} differs in {differences}; if that is right, its row in side_by_side/rows.rs wants .differs(\"…\")\n  ours:   {} {}\n  theirs: {} {}",
            ours.cell(),
            short(&ours.body),
            theirs.cell(),
            short(&theirs.body),
        )
        .unwrap(),
        (true, Some(reason)) => {
            writeln!(wrong, "\n{title:?} no longer differs: take .differs({reason:?}) out of its row").unwrap();
        }
        _ => {}
    }
}

/// Enough to see what it is about.
fn short(body: &str) -> String {
    body.chars().take(600).collect()
}

// === impl Credentials ===

impl Credentials {
    fn of(world: &World) -> Self {
        let token = |name: &str| world.cluster.told(&["create", "token", name, "-n", "shop"]);
        let certificate = |name: &str| {
            let file = |kind: &str| world.cluster.file(&format!("{name}.{kind}")).display().to_string();
            vec!["--cert".to_owned(), file("crt"), "--key".to_owned(), file("key")]
        };
        Self {
            token: token("reader"),
            stranger: token("stranger"),
            front_proxy: certificate("front-proxy-client"),
            administrator: certificate("admin"),
        }
    }

    fn ask(&self, row: &Row, address: SocketAddr, names: &Names) -> Answer {
        let mut arguments = self.arguments(row.who);
        arguments.push(format!("https://{address}{}", names.fill(row.path)));
        match row.method {
            "HEAD" => arguments.push("--head".to_owned()),
            method => arguments.extend(["--request".to_owned(), method.to_owned()]),
        }
        // curl asks for anything and says who it is unless it is told not to.
        let mut headers = vec![("User-Agent", ""), ("Accept", ""), ("Accept-Encoding", "")];
        headers.retain(|(name, _)| row.headers.iter().all(|(set, _)| set != name));
        let etag = row.headers.iter().any(|(_, value)| *value == "{etag}").then(|| {
            let known = Row { headers: vec![row.headers[0]], title: "", reason: None, ..*row };
            self.ask(&known, address, names).etag.unwrap_or_else(|| "\"none\"".to_owned())
        });
        for (name, value) in headers.iter().chain(&row.headers) {
            arguments.push(format!("-H{name}: {}", etag.as_deref().filter(|_| *value == "{etag}").unwrap_or(value)));
        }
        Answer::of(&arguments, names)
    }

    /// Of curl, to be somebody.
    fn arguments(&self, who: Who) -> Vec<String> {
        let header = |text: &str| format!("-H{text}");
        let remote = |user: &str, more: &[&str]| {
            let mut arguments = self.front_proxy.clone();
            arguments.push(format!("-HX-Remote-User: {user}"));
            arguments.extend(more.iter().map(|text| header(text)));
            arguments
        };
        match who {
            Who::Prober => remote("system:kube-aggregator", &["X-Remote-Group: system:masters"]),
            Who::Aggregator => remote("system:kube-aggregator", &[]),
            Who::Hpa => remote(
                "system:serviceaccount:kube-system:horizontal-pod-autoscaler",
                &[
                    "X-Remote-Group: system:serviceaccounts",
                    "X-Remote-Group: system:authenticated",
                    "X-Remote-Uid: 8a6ff9f0-0000-4000-8000-000000000000",
                    "X-Remote-Extra-Authentication.kubernetes.io%2fcredential-Id: JTI=1",
                ],
            ),
            Who::Token => vec![header(&format!("Authorization: Bearer {}", self.token))],
            Who::StrangerToken => vec![header(&format!("Authorization: Bearer {}", self.stranger))],
            Who::BadToken => vec![header("Authorization: Bearer nonsense")],
            Who::Certificate => self.administrator.clone(),
            Who::Forger => vec![header("X-Remote-User: admin"), header("X-Remote-Group: system:masters")],
            Who::Anonymous => Vec::new(),
        }
    }
}
