//! From the first launch to one agreed view on all.

use cloister_integration::{Node, Plan, start_all};
use tokio::runtime::Runtime;

use super::cluster::{plans, up};
use super::{Measuring, millis_between, now};
use crate::baseline::Mesh;
use crate::record::Run;
use cloister_testkit::dns_server::{Behaviour, DnsServer};

/// Found by a list, beside a bare mesh; and the same from the moment when the last process listens.
pub(crate) fn by_list(measuring: &mut Measuring<'_>, n: usize) {
    let ips = measuring.ips(n);
    let plans = plans(&ips);
    measuring.each_run(|measuring, _| {
        let (launched, listening) = assemble(measuring, n, &plans, "assembly");
        measuring.note("assembly-listening", n, listening);
        measuring.note("assembly", n, launched);
    });
}

/// Found by the name of a service, beside a bare mesh.
pub(crate) fn by_dns(measuring: &mut Measuring<'_>, n: usize) {
    let ips = measuring.ips(n);
    let runtime = Runtime::new().expect("this process may have threads");
    let server = runtime.block_on(DnsServer::start());
    server.set("app", Behaviour::addresses(ips.iter().copied()));
    let seed = format!("dns:app:4370@{}", server.address());
    let plans: Vec<Plan> = plans(&ips).into_iter().map(|plan| plan.set("SEEDS", &seed)).collect();
    measuring.each_run(|measuring, _| {
        let (launched, _) = assemble(measuring, n, &plans, "assembly-dns");
        measuring.note("assembly-dns", n, launched);
    });
}

/// One run: from the first launch, and from the last process that listens.
fn assemble(measuring: &mut Measuring<'_>, n: usize, plans: &[Plan], figure: &'static str) -> (Run, Run) {
    let began = now();
    let nodes = start_all(plans);
    let all_up = up(&nodes);
    // A node assembles from the moment when it listens.
    let listens = |node: &Node| {
        let notices = node.notices();
        notices.iter().find(|notice| notice.to == "assembling").map_or(began, |notice| notice.at)
    };
    let listening = nodes.iter().map(listens).max().unwrap_or(began);
    let each = nodes.iter().filter_map(|node| Some(millis_between(began, node.notices().last()?.at)));
    let each: Vec<f64> = each.collect();
    measuring.parts(figure, n, each);
    drop(nodes);
    let baseline = Mesh::assemble(&measuring.ips(n)).took_ms;
    let run = |from: u64, baseline: Option<f64>| Run { baseline, ..Run::from(millis_between(from, all_up)) };
    (run(began, Some(baseline)), run(listening, None))
}

/// A node without seeds, from its launch until it is up.
pub(crate) fn single(measuring: &mut Measuring<'_>, n: usize) {
    let plan = Plan::at(measuring.ips(1)[0]).unset("HOST").unset("PORT").unset("ADMIN__LISTEN");
    measuring.each_run(|measuring, _| {
        let began = now();
        let node = Node::start(&plan);
        let up = node.wait_for_notice("that it is up", 0, |notice| notice.is_up()).at;
        measuring.note("single", n, millis_between(began, up));
    });
}
