//! Ways to a deployment's machine that do not lead through the gateway: how it is reached by SSH, a command that is run there, and a
//! local port that leads to the engine.

use crate::auth::Caller;
use crate::deployments::{find, replica_of};
use crate::problem::{Answer, Body, Failed, Path, failed};
use crate::router::App;
use axum::extract::{Json, State};
use charter_api::ssh::{CommandDone, CommandWish, OpenPort, PortWish, SshWay};
use charter_domain::deployment::{Deployment, Forward};
use charter_domain::replica::Replica;
use charter_store::Role;

/// The longest command.
const COMMAND_MAX: usize = 4096;

/// Where an image's own entrypoint runs the engine, nobody can log in.
fn must_have_ssh(name: &str, replica: Option<&Replica>) -> Answer<()> {
    let instance = replica.and_then(Replica::instance).filter(|i| i.mapped_port().is_some());
    let Some(instance) = instance else { return Ok(()) };
    let at =
        instance.address.as_ref().map_or_else(String::new, |a| format!("; its engine answers at `http://{}:{}`", a.host, a.port));
    let message = format!("`{name}` runs without SSH, by its image's own entrypoint{at}");
    Err(failed(409, "A0417", message, "go through the gateway, or set `launch: ssh` at its provider and start it anew"))
}

/// The copy whose machine is meant.
async fn on_a_machine(app: &App, name: &str, state: &Deployment) -> Answer<Replica> {
    let replica = replica_of(app, state).await?.filter(|r| r.instance().is_some());
    must_have_ssh(name, replica.as_ref())?;
    replica.ok_or_else(|| nothing_held(name))
}

fn nothing_held(name: &str) -> Failed {
    failed(409, "A0411", format!("`{name}` holds no machine"), "start it with `charter up`")
}

/// How to reach the machine by SSH. The key itself is never sent: its place on the server's machine is.
pub(crate) async fn way(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Answer<Json<SshWay>> {
    caller.need(Role::Admin)?;
    let state = find(&app, &caller, &name).await?;
    way_of(&app, &state).await.map(Json)
}

/// The same of a deployment that was found.
pub(crate) async fn way_of(app: &App, state: &Deployment) -> Answer<SshWay> {
    let replica = on_a_machine(app, &state.name, state).await?;
    let link = app.controller.link_of(&replica).ok_or_else(|| nothing_held(&state.name))?;
    let target = link.target();
    Ok(SshWay {
        host: target.host.clone(),
        port: target.port,
        user: target.user.clone(),
        host_key: target.host_key.clone(),
        machine: replica.instance().map(|i| i.placement.offer.host.clone()),
        key_file: app.controller.key_file_of(&replica),
        key_of: app.controller.key_of(&replica),
    })
}

/// Opens a local port that leads to the engine, and answers with its address and the engine's key: an engine that asked for
/// no key would be open to every user of this machine.
pub(crate) async fn forward(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Body(port): Body<PortWish>,
) -> Answer<Json<OpenPort>> {
    caller.need(Role::Operator)?;
    let state = find(&app, &caller, &name).await?;
    let before = open_port(&app, &state).await?;
    if port.close {
        app.controller.set_forward(&state.id, None).await?;
        app.controller.write_down(&state.id, format!("`{}` said to close its local port", caller.name)).await?;
        return Ok(Json(OpenPort { address: None, key: None, closed: before.and_then(|open| open.address) }));
    }
    must_have_ssh(&name, replica_of(&app, &state).await?.as_ref())?;
    let outside = !port.bind.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()) && port.bind != "localhost";
    if outside {
        caller.need_house(Role::Operator)?;
    }
    if outside && !port.insecure {
        let message = format!("`{}` can be reached from outside, and nothing would be encrypted", port.bind);
        return Err(failed(422, "A0009", message, "bind to `127.0.0.1`, or say `--insecure-listen`"));
    }
    // What is open already is the answer, as often as it is asked for.
    let same = |f: &Forward| f.bind == port.bind && (f.port == port.port || port.port == 0);
    if let Some(open) = before.as_ref().filter(|_| state.forward.as_ref().is_some_and(same)) {
        return Ok(Json(open.clone()));
    }
    let bound = std::net::TcpListener::bind((port.bind.as_str(), port.port));
    if let Err(error) = bound {
        let message = format!("`{}:{}` cannot be bound on the server's machine", port.bind, port.port);
        return Err(failed(409, "R0009", message, "choose another port, or 0 for a free one").detail(error.to_string()));
    }
    drop(bound);
    let said = format!("`{}` said to open a local port at `{}`", caller.name, port.bind);
    app.controller.set_forward(&state.id, Some(Forward { bind: port.bind, port: port.port })).await?;
    app.controller.publish().await?;
    app.controller.write_down(&state.id, said).await?;
    let Some(open) = open_port(&app, &state).await? else {
        let message = format!("`{name}` is not ready: its port opens when it is");
        return Err(failed(409, "A0412", message, "wait with `charter up`, then ask again"));
    };
    Ok(Json(OpenPort { closed: before.and_then(|was| was.address).filter(|was| open.address.as_ref() != Some(was)), ..open }))
}

/// The port that leads to its engine now.
async fn open_port(app: &App, state: &Deployment) -> Answer<Option<OpenPort>> {
    let replicas = app.controller.replicas_of(&state.id).await?;
    let open = replicas.iter().find_map(|r| Some((app.controller.forward_of(&r.id)?, r.instance()?)));
    Ok(open.map(|(address, instance)| OpenPort {
        address: Some(address.to_string()),
        key: Some(app.controller.engine_key(&instance.tag)),
        closed: None,
    }))
}

/// Runs a command on its machine, in the name of the user that charter logs in as, and writes down who did.
pub(crate) async fn run(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Body(wish): Body<CommandWish>,
) -> Answer<Json<CommandDone>> {
    caller.need(Role::Admin)?;
    let command = wish.command.trim();
    if command.is_empty() || command.len() > COMMAND_MAX || command.contains('\0') {
        let hint = format!("1 to {COMMAND_MAX} bytes, such as `nvidia-smi`");
        return Err(failed(422, "A0422", "the command cannot be used", hint));
    }
    let state = find(&app, &caller, &name).await?;
    let replica = on_a_machine(&app, &name, &state).await?;
    let ran = app.controller.run_there(&state, &replica, command).await;
    let ended = match &ran {
        Ok(ran) if ran.cut && ran.status.is_none() => "it was not waited for".to_owned(),
        Ok(ran) => ran.status.map_or_else(|| "a signal ended it".to_owned(), |status| format!("it ended with status {status}")),
        Err(why) => format!("it was not run to its end: {}", why.text),
    };
    // The rest of the line may hold secrets.
    let program = command.split_whitespace().next().filter(|word| !word.contains('=') && word.len() <= 64).unwrap_or("a command");
    app.controller
        .write_down(&state.id, format!("`{}` said to run `{program}` on its machine by SSH; {ended}", caller.name))
        .await?;
    let ran = ran.map_err(|e| failed(502, e.code, e.text, e.hint))?;
    Ok(Json(CommandDone { status: ran.status, stdout: ran.stdout, stderr: ran.stderr, cut: ran.cut }))
}
