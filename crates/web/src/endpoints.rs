//! Every path of the API, once.

use crate::endpoint::{Endpoint, Gives, change, read, remove, replace};
use crate::router;
use crate::{
    admin_vllm, backends, cloud_model, cloud_upgrade, defaults, deployments, events, gateways, hosts, keys, machines, manifest,
    metrics, money, offers, openapi, plan, routes, saved, upgrade_stream, upgrades, usage,
};
use charter_api::status as wire;
use charter_api::upgrade::Upgrade;
use charter_store::Role;
use serde_json::Value;

/// The largest batch of usage.
const USAGE_MAX: usize = 16 * 1024 * 1024;
const EVENTS: Gives = Gives::Text("text/event-stream");
const TEXT: Gives = Gives::Text("text/plain");

/// All of them.
pub(crate) fn all() -> Vec<Endpoint> {
    let mut all = health();
    all.extend(of_deployments());
    all.extend(of_upgrades());
    all.extend(of_money());
    all.extend(of_gateway());
    all.extend(aliases());
    all
}

fn health() -> Vec<Endpoint> {
    vec![
        read("/healthz", router::alive).open().says("The process lives.").gives_kind(200, Gives::Object("")),
        read("/readyz", router::ready)
            .open()
            .says("The database answers.")
            .gives_kind(200, Gives::Object(""))
            .gives_kind(503, Gives::Object("")),
        read("/api/v1/openapi.json", openapi::document).open().says("This description.").gives_kind(200, Gives::Object("")),
        read("/metrics", metrics::metrics)
            .says("The control plane's metrics, in the text format of Prometheus.")
            .gives_kind(200, TEXT),
        read("/api/v1/status", deployments::overview).says("Everything that runs, with its sums.").gives::<wire::Status>(200),
        read("/api/v1/doctor", gateways::doctor)
            .says("What the server's own tasks did last, and what the last day's requests advise.")
            .gives_kind(200, Gives::Object("")),
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
            .gives_kind(200, Gives::List("charter.status/1")),
        change("/api/v1/deployments", deployments::create)
            .takes::<deployments::Wanted>()
            .says("Declares a deployment, new or changed.")
            .gives::<wire::Deployment>(202),
        read("/api/v1/deployments/{name}", deployments::get)
            .asks::<deployments::Wait>()
            .says("One deployment with its newest facts; with `after` it is waited for a change.")
            .gives_kind(200, Gives::Object("")),
        remove("/api/v1/deployments/{name}", deployments::remove)
            .says("Ends a deployment; its machines are given back, and that is proven.")
            .gives::<wire::Deployment>(202),
        read("/api/v1/deployments/{name}/logs", deployments::logs)
            .asks::<deployments::Part>()
            .says("The engine's log: its end, or what follows a place.")
            .gives_kind(200, Gives::Object(""))
            .fails(&[502]),
        read("/api/v1/deployments/{name}/logs/stream", events::log_stream)
            .says("New lines of the log as they come.")
            .gives_kind(200, EVENTS),
        read("/api/v1/deployments/{name}/logs/file", events::log_file)
            .says("The whole log of the present run.")
            .gives_kind(200, TEXT),
        read("/api/v1/deployments/{name}/facts", deployments::facts)
            .says("Its time line, the oldest first.")
            .gives_kind(200, Gives::List("fact")),
        read("/api/v1/deployments/{name}/ssh", deployments::ssh)
            .only(Role::Admin)
            .says("How its machine is reached by SSH.")
            .gives_kind(200, Gives::Object("")),
        change("/api/v1/deployments/{name}/forward", deployments::forward)
            .takes::<deployments::Port>()
            .says("Opens a local port that leads to the engine, or closes it.")
            .gives_kind(200, Gives::Object("")),
        change("/api/v1/deployments/{name}/extend", money::extend)
            .takes::<money::More>()
            .says("Gives it more time.")
            .gives_kind(200, Gives::Object("")),
        read("/api/v1/deployments/{name}/generations", upgrades::generations)
            .says("Every generation that is remembered.")
            .gives_kind(200, Gives::List("generation")),
        read("/api/v1/deployments/{name}/manifest", manifest::export)
            .says("Everything that makes it what it is, without a secret.")
            .gives_kind(200, Gives::Object("charter.manifest/1")),
        change("/api/v1/plan", plan::plan)
            .takes::<plan::Question>()
            .says("What would happen; nothing is touched.")
            .gives::<wire::Plan>(200)
            .fails(&[502]),
        read("/api/v1/saved-configs", saved::list).says("Saved configurations.").gives_kind(200, Gives::List("saved")),
        change("/api/v1/saved-configs", saved::save)
            .takes::<saved::Save>()
            .says("Saves a deployment, or a manifest, under a name.")
            .gives_kind(201, Gives::Object("")),
        read("/api/v1/saved-configs/{name}", saved::get).says("One saved configuration.").gives_kind(200, Gives::Object("")),
        remove("/api/v1/saved-configs/{name}", saved::remove).says("Forgets it.").gives_kind(204, Gives::Nothing),
        change("/api/v1/saved-configs/{name}/deploy", saved::deploy)
            .takes::<saved::Deploy>()
            .says("Runs it again.")
            .gives::<wire::Deployment>(202),
    ]
}

fn of_upgrades() -> Vec<Endpoint> {
    vec![
        read("/api/v1/upgrades", upgrades::list)
            .says("Upgrades that were begun, the newest first.")
            .gives_kind(200, Gives::List("charter.upgrade/1")),
        change("/api/v1/upgrades", upgrades::start_all)
            .takes::<upgrades::Wanted>()
            .says("Upgrades several, or all; with `what_if` says what that would do.")
            .gives::<wire::Plan>(200)
            .gives::<Upgrade>(202),
        read("/api/v1/upgrades/{id}", upgrades::get)
            .asks::<deployments::Wait>()
            .says("One of them.")
            .gives_kind(200, Gives::Object("charter.upgrade/1")),
        read("/api/v1/upgrades/{id}/stream", upgrade_stream::stream)
            .says("What happens to it, to its end.")
            .gives_kind(200, EVENTS),
        change("/api/v1/deployments/{name}/upgrade", upgrades::upgrade)
            .takes::<upgrades::One>()
            .says("Upgrades one to what its file says.")
            .gives::<wire::Plan>(200)
            .gives_kind(202, Gives::Object("charter.upgrade/1")),
        change("/api/v1/deployments/{name}/rollback", upgrades::rollback)
            .takes::<upgrades::One>()
            .says("Back to an earlier generation.")
            .gives::<wire::Plan>(200)
            .gives_kind(202, Gives::Object("charter.upgrade/1")),
        change("/api/v1/deployments/{name}/migrate", upgrades::migrate)
            .takes::<upgrades::One>()
            .says("To another provider.")
            .gives::<wire::Plan>(200)
            .gives_kind(202, Gives::Object("charter.upgrade/1")),
    ]
}

fn of_money() -> Vec<Endpoint> {
    vec![
        read("/api/v1/budget", money::budget)
            .says("Limits on money, and what counts against them.")
            .gives_kind(200, Gives::Object("charter.budget/1")),
        read("/api/v1/spend", usage::spend)
            .only(Role::Operator)
            .asks::<usage::Asked>()
            .says("Requests added up.")
            .gives_kind(200, Gives::Object("charter.spend/1")),
        read("/api/v1/requests", usage::requests)
            .only(Role::Operator)
            .asks::<usage::Asked>()
            .says("Single requests, the newest first.")
            .gives_kind(200, Gives::Object("charter.requests/1")),
        read("/api/v1/hosts", hosts::list).says("Hosts that are remembered.").gives_kind(200, Gives::Object("charter.hosts/1")),
        read("/api/v1/offers", offers::list)
            .asks::<offers::Wish>()
            .says("What could be had now.")
            .gives_kind(200, Gives::Object("charter.offers/1")),
        change("/api/v1/offers", offers::ask)
            .takes::<offers::Question>()
            .says("What could be had now for a profile.")
            .gives_kind(200, Gives::Object("charter.offers/1")),
        read("/api/v1/machines", machines::list)
            .only(Role::Operator)
            .says("What stands in the providers' accounts, as far as it is known.")
            .gives_kind(200, Gives::List("machine")),
        remove("/api/v1/machines/{provider}/{id}", machines::end)
            .only(Role::Admin)
            .says("Ends an instance that is quarantined.")
            .gives_kind(204, Gives::Nothing)
            .fails(&[502]),
        read("/api/v1/providers", machines::providers).says("Where machines come from.").gives_kind(200, Gives::List("provider")),
    ]
}

fn of_gateway() -> Vec<Endpoint> {
    vec![
        read("/api/v1/keys", keys::list).only(Role::Admin).says("Keys, without themselves.").gives_kind(200, Gives::List("key")),
        change("/api/v1/keys", keys::create)
            .only(Role::Admin)
            .takes::<keys::Wanted>()
            .says("Makes a key. It is shown in this answer and never again.")
            .gives_kind(201, Gives::Object("")),
        remove("/api/v1/keys/{id}", keys::revoke).only(Role::Admin).says("Revokes a key.").gives_kind(204, Gives::Nothing),
        read("/api/v1/backends", backends::list)
            .says("Backends that were registered by hand.")
            .gives_kind(200, Gives::List("backend")),
        change("/api/v1/backends", backends::register)
            .takes::<backends::Wanted>()
            .says("Asks a backend what it serves, and registers it.")
            .gives_kind(201, Gives::Object("")),
        remove("/api/v1/backends/{name}", backends::remove).says("Forgets a backend.").gives_kind(204, Gives::Nothing),
        read("/api/v1/routes", routes::list).says("What was said of names.").gives_kind(200, Gives::List("route")),
        change("/api/v1/routes/explain", routes::explain)
            .takes::<routes::Question>()
            .says("What a gateway would do with a request.")
            .gives_kind(200, Gives::Object("charter.route-explain/1")),
        read("/api/v1/rented", routes::rented).says("Whether rented machines get requests.").gives_kind(200, Gives::Object("")),
        replace("/api/v1/rented", routes::switch_rented)
            .takes::<routes::Switch>()
            .says("Switches that.")
            .gives_kind(200, Gives::Object("")),
        read("/api/v1/routes/{name}", routes::get).says("What was said of a name.").gives_kind(200, Gives::Object("")),
        replace("/api/v1/routes/{name}", routes::put)
            .takes::<routes::Wanted>()
            .says("Says how a name is served.")
            .gives_kind(200, Gives::Object("")),
        remove("/api/v1/routes/{name}", routes::remove).says("Forgets that.").gives_kind(204, Gives::Nothing),
        change("/api/v1/gateway/table", gateways::table)
            .only(Role::Admin)
            .takes::<gateways::Poll>()
            .says("For gateways: the routing table, as soon as it is newer.")
            .gives_kind(200, Gives::Object("")),
        change("/api/v1/gateway/usage", usage::record)
            .only(Role::Admin)
            .large(USAGE_MAX)
            .takes::<Value>()
            .says("For gateways: a batch of usage.")
            .gives_kind(200, Gives::Object("")),
        change("/api/v1/gateway/draw", usage::draw)
            .only(Role::Admin)
            .takes::<usage::Draw>()
            .says("For gateways: money of a key.")
            .gives_kind(200, Gives::Object("")),
    ]
}

fn aliases() -> Vec<Endpoint> {
    let all = vec![
        change("/api/deployments/{name}/extend", money::extend)
            .takes::<money::More>()
            .says("Gives it more time.")
            .gives_kind(200, Gives::Object("")),
        change("/api/deployments/from-manifest", manifest::apply)
            .takes::<manifest::Order>()
            .says("Runs what a manifest says.")
            .gives::<wire::Deployment>(202),
        change("/api/admin/vllm/launch", admin_vllm::launch)
            .only(Role::Admin)
            .takes::<admin_vllm::Launch>()
            .says("Rents what a profile of the server's file asks for.")
            .gives_kind(202, Gives::Object("")),
        read("/api/admin/vllm/status", admin_vllm::status)
            .asks::<admin_vllm::Which>()
            .says("The launched deployment.")
            .gives_kind(200, Gives::Object("")),
        change("/api/admin/vllm/extend", admin_vllm::extend)
            .only(Role::Admin)
            .asks::<admin_vllm::Which>()
            .takes::<admin_vllm::More>()
            .says("Gives it more time.")
            .gives_kind(200, Gives::Object("")),
        change("/api/admin/vllm/destroy", admin_vllm::destroy)
            .only(Role::Admin)
            .asks::<admin_vllm::Which>()
            .says("Ends it.")
            .gives_kind(202, Gives::Object("")),
        change("/deploy/cloud-model", cloud_model::start)
            .takes::<cloud_model::Order>()
            .says("Begins, and answers at once.")
            .gives_kind(202, Gives::Object("")),
        change("/deploy/cloud-model/sync", cloud_model::wait)
            .takes::<cloud_model::Order>()
            .says("Begins, and answers when it is ready.")
            .gives_kind(200, Gives::Object(""))
            .fails(&[502, 503, 504]),
        change("/deploy/cloud-model/upgrade/{session}", cloud_upgrade::one)
            .takes::<cloud_upgrade::One>()
            .says("Upgrades a session.")
            .gives_kind(200, Gives::Object(""))
            .gives_kind(202, Gives::Object(""))
            .fails(&[502, 504]),
        change("/deploy/cloud-model/upgrade-all", cloud_upgrade::all)
            .takes::<cloud_upgrade::All>()
            .says("Upgrades all.")
            .gives_kind(200, Gives::Object(""))
            .gives_kind(202, Gives::Object("")),
        read("/deploy/cloud-model/running", cloud_model::running).says("What runs.").gives_kind(200, Gives::Object("")),
        change("/deploy/cloud-model/register-backend", backends::register)
            .takes::<backends::Wanted>()
            .says("Registers a backend.")
            .gives_kind(201, Gives::Object("")),
    ];
    all.into_iter().map(Endpoint::alias).collect()
}
