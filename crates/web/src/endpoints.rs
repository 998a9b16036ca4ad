//! Every path of the API, once.

use crate::endpoint::{Endpoint, Gives, change, read, remove, replace};
use crate::router;
use crate::{
    admin_vllm, backends, backups, cloud_model, cloud_upgrade, defaults, deployments, doctor, ending, events, gateways, hosts,
    keys, machines, manifest, metrics, money, offers, openapi, plan, routes, saved, ssh, upgrade_stream, upgrades, usage,
};
use charter_api::backend::{Backend, BackendWish, Registered};
use charter_api::backup::Backup;
use charter_api::budget::Budget;
use charter_api::deployment::{Declare, Fact, Lease, LogPart, More, PlanQuestion, Watched};
use charter_api::doctor::{Doctor, Health};
use charter_api::ending::Ending;
use charter_api::key::{Key, KeyWish, NewKey};
use charter_api::list::List;
use charter_api::manifest::{Again, Manifest, Order, Save, Saved};
use charter_api::market::{Hosts, Machine, Offers, OffersQuestion, Provider};
use charter_api::route::{Explained, Rented, Route, RouteQuestion, RouteWish, Switch};
use charter_api::ssh::{CommandDone, CommandWish, OpenPort, PortWish, SshWay};
use charter_api::status as wire;
use charter_api::upgrade::{Back, Generation, Several, Single, Upgrade};
use charter_api::usage::{Draw, Drawn, Requests, Spend, UsageWish, Written};
use charter_store::Role;

/// The largest batch of usage.
const USAGE_MAX: usize = 16 * 1024 * 1024;
const EVENTS: Gives = Gives::Text("text/event-stream");
const TEXT: Gives = Gives::Text("text/plain");

/// All of them.
pub(crate) fn all() -> Vec<Endpoint> {
    let mut all = health();
    all.extend(of_deployments());
    all.extend(of_machines());
    all.extend(of_papers());
    all.extend(of_upgrades());
    all.extend(of_money());
    all.extend(of_gateway());
    all.extend(aliases());
    all
}

fn health() -> Vec<Endpoint> {
    vec![
        read("/healthz", router::alive).open().says("The process lives.").gives::<Health>(200),
        read("/readyz", router::ready).open().says("The database answers.").gives::<Health>(200).gives::<Health>(503),
        read("/api/v1/openapi.json", openapi::document).open().says("This description.").gives_kind(200, Gives::Object),
        read("/metrics", metrics::metrics)
            .says("The control plane's metrics, in the text format of Prometheus.")
            .gives_kind(200, TEXT),
        read("/api/v1/status", deployments::overview).says("Everything that runs, with its sums.").gives::<wire::Status>(200),
        read("/api/v1/doctor", doctor::doctor)
            .says("What the server's own tasks did last, and what the last day's requests advise.")
            .gives::<Doctor>(200),
        read("/api/v1/events", events::stream)
            .asks::<events::Wish>()
            .says("What happens, as events; `Last-Event-ID` takes the stream up again without a gap and without a line twice.")
            .gives_kind(200, EVENTS),
        read("/api/v1/defaults", defaults::get)
            .says("What the form of a new deployment begins with.")
            .gives::<defaults::Defaults>(200),
        replace("/api/v1/defaults", defaults::put)
            .takes::<defaults::Defaults>()
            .says("Changes that, for everybody.")
            .gives::<defaults::Defaults>(200),
        read("/api/v1/backups", backups::list)
            .only(Role::Admin)
            .says("Backups that lie on the server's own computer.")
            .gives::<List<Backup>>(200),
        change("/api/v1/backups", backups::make)
            .only(Role::Admin)
            .says("Makes another one. It holds the installation's key, and is never sent.")
            .gives::<Backup>(201),
        remove("/api/v1/backups/{name}", backups::remove).only(Role::Admin).says("Removes one.").gives_kind(204, Gives::Nothing),
        change("/api/v1/panic", ending::end_all)
            .only(Role::Admin)
            .says("Ends every deployment of every tenant.")
            .gives::<Ending>(202),
        change("/api/v1/server/stop", router::stop)
            .only(Role::Admin)
            .says("Ends the server. What is rented stays.")
            .gives_kind(202, Gives::Nothing),
    ]
}

fn of_deployments() -> Vec<Endpoint> {
    vec![
        read("/api/v1/deployments", deployments::list)
            .asks::<deployments::Page>()
            .says("All deployments.")
            .gives::<List<wire::Deployment>>(200),
        change("/api/v1/deployments", deployments::create)
            .takes::<Declare>()
            .says("Declares a deployment, new or changed.")
            .gives::<wire::Deployment>(202),
        read("/api/v1/deployments/{name}", deployments::get)
            .asks::<deployments::Wait>()
            .says("One deployment with its newest facts; with `after` it is waited for a change.")
            .gives::<Watched>(200),
        remove("/api/v1/deployments/{name}", deployments::remove)
            .says("Ends a deployment; its machines are given back, and that is proven.")
            .gives::<wire::Deployment>(202),
        read("/api/v1/deployments/{name}/logs", deployments::logs)
            .asks::<deployments::Part>()
            .says("The engine's log: its end, or what follows a place.")
            .gives::<LogPart>(200)
            .fails(&[502]),
        read("/api/v1/deployments/{name}/logs/stream", events::log_stream)
            .says("New lines of the log as they come.")
            .gives_kind(200, EVENTS),
        read("/api/v1/deployments/{name}/logs/file", events::log_file)
            .says("The whole log of the present run.")
            .gives_kind(200, TEXT),
        read("/api/v1/deployments/{name}/facts", deployments::facts)
            .says("Its time line, the oldest first.")
            .gives::<List<Fact>>(200),
    ]
}

/// Ways to machines that do not lead through the gateway.
fn of_machines() -> Vec<Endpoint> {
    vec![
        read("/api/v1/deployments/{name}/ssh", ssh::way)
            .only(Role::Admin)
            .says("How its machine is reached by SSH.")
            .gives::<SshWay>(200),
        change("/api/v1/deployments/{name}/ssh", ssh::run)
            .only(Role::Admin)
            .takes::<CommandWish>()
            .says("Runs one command on its machine, for a minute at most.")
            .gives::<CommandDone>(200)
            .fails(&[502]),
        change("/api/v1/deployments/{name}/forward", ssh::forward)
            .takes::<PortWish>()
            .says("Opens a local port that leads to the engine, or closes it.")
            .gives::<OpenPort>(200),
    ]
}

/// What a deployment was and is, and running it again.
fn of_papers() -> Vec<Endpoint> {
    vec![
        change("/api/v1/deployments/{name}/extend", money::extend)
            .takes::<More>()
            .says("Gives it more time.")
            .gives::<Lease>(200),
        read("/api/v1/deployments/{name}/generations", upgrades::generations)
            .says("Every generation that is remembered.")
            .gives::<List<Generation>>(200),
        read("/api/v1/deployments/{name}/manifest", manifest::export)
            .says("Everything that makes it what it is, without a secret.")
            .gives::<Manifest>(200),
        change("/api/v1/plan", plan::plan)
            .takes::<PlanQuestion>()
            .says("What would happen; nothing is touched.")
            .gives::<wire::Plan>(200)
            .fails(&[502]),
        read("/api/v1/saved-configs", saved::list).says("Saved configurations.").gives::<List<Saved>>(200),
        change("/api/v1/saved-configs", saved::save)
            .takes::<Save>()
            .says("Saves a deployment, or a manifest, under a name.")
            .gives::<Saved>(201),
        read("/api/v1/saved-configs/{name}", saved::get).says("One saved configuration.").gives::<Saved>(200),
        remove("/api/v1/saved-configs/{name}", saved::remove).says("Forgets it.").gives_kind(204, Gives::Nothing),
        change("/api/v1/saved-configs/{name}/deploy", saved::deploy)
            .takes::<Again>()
            .says("Runs it again.")
            .gives::<wire::Deployment>(202),
    ]
}

fn of_upgrades() -> Vec<Endpoint> {
    vec![
        read("/api/v1/upgrades", upgrades::list).says("Upgrades that were begun, the newest first.").gives::<List<Upgrade>>(200),
        change("/api/v1/upgrades", upgrades::start_all)
            .takes::<Several>()
            .says("Upgrades several, or all; with `what_if` says what that would do.")
            .gives::<wire::Plan>(200)
            .gives::<Upgrade>(202),
        read("/api/v1/upgrades/{id}", upgrades::get).asks::<deployments::Wait>().says("One of them.").gives::<Upgrade>(200),
        read("/api/v1/upgrades/{id}/stream", upgrade_stream::stream)
            .says("What happens to it, to its end.")
            .gives_kind(200, EVENTS),
        change("/api/v1/deployments/{name}/upgrade", upgrades::upgrade)
            .takes::<Single>()
            .says("Upgrades one to what its file says.")
            .gives::<wire::Plan>(200)
            .gives::<Upgrade>(202),
        change("/api/v1/deployments/{name}/rollback", upgrades::rollback)
            .takes::<Single>()
            .says("Back to an earlier generation.")
            .gives::<wire::Plan>(200)
            .gives::<Back>(202),
        change("/api/v1/deployments/{name}/migrate", upgrades::migrate)
            .takes::<Single>()
            .says("To another provider.")
            .gives::<wire::Plan>(200)
            .gives::<Upgrade>(202),
    ]
}

fn of_money() -> Vec<Endpoint> {
    vec![
        read("/api/v1/budget", money::budget).says("Limits on money, and what counts against them.").gives::<Budget>(200),
        read("/api/v1/spend", usage::spend)
            .only(Role::Operator)
            .asks::<UsageWish>()
            .says("Requests added up.")
            .gives::<Spend>(200),
        read("/api/v1/requests", usage::requests)
            .only(Role::Operator)
            .asks::<UsageWish>()
            .says("Single requests, the newest first.")
            .gives::<Requests>(200),
        read("/api/v1/hosts", hosts::list).says("Hosts that are remembered.").gives::<Hosts>(200),
        read("/api/v1/offers", offers::list).asks::<offers::Wish>().says("What could be had now.").gives::<Offers>(200),
        change("/api/v1/offers", offers::ask)
            .takes::<OffersQuestion>()
            .says("What could be had now for a profile.")
            .gives::<Offers>(200),
        read("/api/v1/machines", machines::list)
            .only(Role::Operator)
            .says("What stands in the providers' accounts, as far as it is known.")
            .gives::<List<Machine>>(200),
        remove("/api/v1/machines/{provider}/{id}", machines::end)
            .only(Role::Admin)
            .says("Ends an instance that is quarantined.")
            .gives_kind(204, Gives::Nothing)
            .fails(&[502]),
        change("/api/v1/sweep", machines::look)
            .says("Looks at the providers now: what is ours and held by nobody is ended.")
            .gives_kind(202, Gives::Nothing),
        read("/api/v1/providers", machines::providers).says("Where machines come from.").gives::<List<Provider>>(200),
    ]
}

fn of_gateway() -> Vec<Endpoint> {
    vec![
        read("/api/v1/keys", keys::list).only(Role::Admin).says("Keys, without themselves.").gives::<List<Key>>(200),
        change("/api/v1/keys", keys::create)
            .only(Role::Admin)
            .takes::<KeyWish>()
            .says("Makes a key. It is shown in this answer and never again.")
            .gives::<NewKey>(201),
        remove("/api/v1/keys/{id}", keys::revoke).only(Role::Admin).says("Revokes a key.").gives_kind(204, Gives::Nothing),
        read("/api/v1/backends", backends::list).says("Backends that were registered by hand.").gives::<List<Backend>>(200),
        change("/api/v1/backends", backends::register)
            .takes::<BackendWish>()
            .says("Asks a backend what it serves, and registers it.")
            .gives::<Registered>(201),
        remove("/api/v1/backends/{name}", backends::remove).says("Forgets a backend.").gives_kind(204, Gives::Nothing),
        read("/api/v1/routes", routes::list).says("What was said of names.").gives::<List<Route>>(200),
        change("/api/v1/routes/explain", routes::explain)
            .only(Role::Viewer)
            .takes::<RouteQuestion>()
            .says("What a gateway would do with a request.")
            .gives::<Explained>(200),
        read("/api/v1/rented", routes::rented).says("Whether rented machines get requests.").gives::<Rented>(200),
        replace("/api/v1/rented", routes::switch_rented).takes::<Switch>().says("Switches that.").gives::<Rented>(200),
        read("/api/v1/routes/{name}", routes::get).says("What was said of a name.").gives::<Route>(200),
        replace("/api/v1/routes/{name}", routes::put).takes::<RouteWish>().says("Says how a name is served.").gives::<Route>(200),
        remove("/api/v1/routes/{name}", routes::remove).says("Forgets that.").gives_kind(204, Gives::Nothing),
        change("/api/v1/gateway/table", gateways::table)
            .only(Role::Admin)
            .takes::<gateways::Poll>()
            .says("For gateways: the routing table, as soon as it is newer.")
            .gives::<gateways::Published>(200),
        change("/api/v1/gateway/usage", usage::record)
            .only(Role::Admin)
            .large(USAGE_MAX)
            .takes::<usage::Batch>()
            .says("For gateways: a batch of usage.")
            .gives::<Written>(200),
        change("/api/v1/gateway/draw", usage::draw)
            .only(Role::Admin)
            .takes::<Draw>()
            .says("For gateways: money of a key.")
            .gives::<Drawn>(200),
    ]
}

fn aliases() -> Vec<Endpoint> {
    let all = vec![
        change("/api/deployments/{name}/extend", money::extend).takes::<More>().says("Gives it more time.").gives::<Lease>(200),
        change("/api/deployments/from-manifest", manifest::apply)
            .takes::<Order>()
            .says("Runs what a manifest says.")
            .gives::<wire::Deployment>(202),
        change("/api/admin/vllm/launch", admin_vllm::launch)
            .only(Role::Admin)
            .takes::<admin_vllm::Launch>()
            .says("Rents what a profile of the server's file asks for.")
            .gives_kind(202, Gives::Object),
        read("/api/admin/vllm/status", admin_vllm::status)
            .asks::<admin_vllm::Which>()
            .says("The launched deployment.")
            .gives_kind(200, Gives::Object),
        change("/api/admin/vllm/extend", admin_vllm::extend)
            .only(Role::Admin)
            .asks::<admin_vllm::Which>()
            .takes::<admin_vllm::More>()
            .says("Gives it more time.")
            .gives_kind(200, Gives::Object),
        change("/api/admin/vllm/destroy", admin_vllm::destroy)
            .only(Role::Admin)
            .asks::<admin_vllm::Which>()
            .says("Ends it.")
            .gives_kind(202, Gives::Object),
        change("/deploy/cloud-model", cloud_model::start)
            .takes::<cloud_model::Order>()
            .says("Begins, and answers at once.")
            .gives_kind(202, Gives::Object),
        change("/deploy/cloud-model/sync", cloud_model::wait)
            .takes::<cloud_model::Order>()
            .says("Begins, and answers when it is ready.")
            .gives_kind(200, Gives::Object)
            .fails(&[502, 503, 504]),
        change("/deploy/cloud-model/upgrade/{session}", cloud_upgrade::one)
            .takes::<cloud_upgrade::One>()
            .says("Upgrades a session.")
            .gives_kind(200, Gives::Object)
            .gives_kind(202, Gives::Object)
            .fails(&[502, 504]),
        change("/deploy/cloud-model/upgrade-all", cloud_upgrade::all)
            .takes::<cloud_upgrade::All>()
            .says("Upgrades all.")
            .gives_kind(200, Gives::Object)
            .gives_kind(202, Gives::Object),
        read("/deploy/cloud-model/running", cloud_model::running).says("What runs.").gives_kind(200, Gives::Object),
        change("/deploy/cloud-model/register-backend", backends::register)
            .takes::<BackendWish>()
            .says("Registers a backend.")
            .gives::<Registered>(201),
    ];
    all.into_iter().map(Endpoint::alias).collect()
}
