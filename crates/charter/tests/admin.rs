//! Backups, moves between databases, a file that lost its provider, and the doctor.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on fails"
)]

#[path = "../../store/tests/support/postgres.rs"]
mod postgres;
mod support;

use postgres::Postgres;
use serde_json::Value;
use support::market::Bed;
use support::{Place, chat, request, wait_until};

fn status(place: &Place) -> Value {
    serde_json::from_str(&place.ok(&["--json", "status"])).expect("JSON")
}

fn is(place: &Place, word: &str) -> bool {
    status(place)["deployments"].as_array().is_some_and(|all| !all.is_empty() && all.iter().all(|d| d["status"] == word))
}

fn alive(bed: &Bed) -> u64 {
    bed.ledger()["alive"].as_u64().expect("a number")
}

#[test]
fn a_backup_brings_back_what_was_and_what_is_younger_is_shown_and_not_ended() {
    let bed = Bed::start("backup", &["--speed", "20"]);
    let mut place = Place::bare("backup");
    bed.configure(&place, "", "  old: {profile: small, served-name: old}\n");
    place.serve(&[]);
    place.ok(&["up"]);
    let file = place.folder.join("backup.db").display().to_string();
    let made: Value = serde_json::from_str(&place.ok(&["--json", "admin", "backup", &file])).expect("JSON");
    assert_eq!(made["deployments"], 1, "{made}");
    let again = place.charter(&["admin", "backup", &file]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("D0007"), "a backup is never written over");
    bed.configure(&place, "", "  old: {profile: small, served-name: old}\n  new: {profile: small, served-name: new}\n");
    place.ok(&["up", "new"]);
    let running = place.charter(&["admin", "restore", &file]);
    assert!(String::from_utf8_lossy(&running.stderr).contains("A0006"), "not while a server runs");
    place.kill_server();
    let known = place.charter(&["admin", "restore", &file]);
    assert!(String::from_utf8_lossy(&known.stderr).contains("D0009"), "not without being told");
    place.ok(&["admin", "restore", &file, "--replace"]);
    let config = place.folder.join("charter.yaml").display().to_string();
    let shown = place.charter(&["--config", &config, "--json", "sweep"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    let kinds: Vec<&str> = shown["machines"].as_array().expect("machines").iter().filter_map(|m| m["belongs"].as_str()).collect();
    assert!(kinds.contains(&"in-use") && kinds.contains(&"stray"), "{shown}");
    place.serve(&[]);
    wait_until("what was there before runs as before", || is(&place, "running"));
    // Its machine is taken away: another one is taken, and no number of before is used again.
    let taken = bed.ledger()["machines"].as_array().expect("machines")[0]["id"].to_string();
    let gone = request(bed.address, "DELETE", &format!("/api/v0/instances/{taken}/"), &bed.key, b"").expect("an answer");
    assert_eq!(gone.status, 200, "{gone:?}");
    chat(place.gateway(), &place.key(), "old", 1, false).ok();
    wait_until("another machine runs it", || bed.ledger()["created"].as_u64() == Some(3) && is(&place, "running"));
    assert_eq!((alive(&bed), bed.ledger()["twice"].as_u64()), (2, Some(0)), "the younger one stands");
    let output = place.charter(&["--config", &config, "sweep", "--execute"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(alive(&bed), 1);
    place.ok(&["down", "--all"]);
    bed.must_be_empty();
}

#[test]
fn what_is_no_backup_is_refused_and_changes_nothing() {
    let place = Place::bare("no-backup");
    std::fs::write(place.folder.join("text"), "hello, this is not a database at all").expect("write");
    std::fs::write(place.folder.join("cut"), b"SQLite format 3\0 and then nothing").expect("write");
    std::fs::write(place.folder.join("empty"), "").expect("write");
    for name in ["text", "cut", "empty", "missing"] {
        let output = place.charter(&["admin", "restore", &place.folder.join(name).display().to_string()]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains("D0008"), "{name}: {text}");
    }
    assert!(!place.data().join("charter.db").exists());
}

#[test]
fn everything_moves_to_postgresql_and_back_while_the_model_runs() {
    let (bed, database) = (Bed::start("move", &["--speed", "20"]), Postgres::start("move"));
    let mut place = Place::bare("move");
    bed.configure(&place, "", "  small: {profile: small}\n");
    place.serve(&[]);
    place.ok(&["up"]);
    place.stop_server();
    place.ok(&["admin", "migrate", "--to", &database.url()]);
    place.serve(&[]);
    wait_until("it runs on PostgreSQL", || is(&place, "running"));
    let said = place.ok(&["admin", "migrate"]);
    assert!(said.contains("PostgreSQL"), "{said}");
    place.stop_server();
    let back = place.charter(&["admin", "migrate", "--to", &database.url()]);
    assert!(String::from_utf8_lossy(&back.stderr).contains("D0011"), "it is there already");
    place.ok(&["admin", "migrate", "--to", "sqlite"]);
    place.serve(&[]);
    wait_until("it runs on SQLite again", || is(&place, "running"));
    assert_eq!(bed.ledger()["created"].as_u64(), Some(1));
    place.ok(&["down", "--all"]);
    bed.must_be_empty();
}

#[test]
fn a_file_that_lost_its_provider_rents_nothing_there_and_still_ends_what_lives_there() {
    let bed = Bed::start("lost", &["--speed", "20"]);
    let mut place = Place::bare("lost");
    bed.configure(&place, "", "  small: {profile: small}\n");
    place.serve(&[]);
    place.ok(&["up"]);
    place.stop_server();
    let key = std::fs::read_to_string(place.folder.join("vast.key")).expect("key");
    std::fs::remove_file(place.folder.join("vast.key")).expect("remove");
    let profiles = std::fs::read_to_string(place.folder.join("charter.yaml")).expect("file");
    let profiles = profiles.split_once("profiles:").expect("profiles").1.to_owned();
    std::fs::write(place.folder.join("charter.yaml"), format!("version: 1\nprofiles:{profiles}")).expect("file");
    let database = std::fs::read(place.data().join("charter.db")).expect("database");
    assert!(!database.windows(key.len()).any(|w| w == key.as_bytes()), "the key is sealed");
    place.serve(&[]);
    assert!(place.server_log().contains("put it back into `server.providers`"), "{}", place.server_log());
    wait_until("it is looked after", || is(&place, "running"));
    let price = status(&place)["totals"]["price_usd_micros_per_hour"].as_i64().expect("a price");
    assert!(price > 0, "what runs there is shown with its price");
    std::fs::write(
        place.folder.join("charter.yaml"),
        format!("version: 1\nprofiles:{profiles}  more: {{profile: small, served-name: more}}\n"),
    )
    .expect("file");
    let refused = place.charter(&["up", "more"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("the file does not name it"), "{text}");
    place.ok(&["down", "--all"]);
    bed.must_be_empty();
}

#[test]
fn the_doctor_says_what_to_do() {
    let bed = Bed::start("doctor", &["--speed", "20"]);
    let mut place = Place::bare("doctor");
    let before = place.charter(&["--json", "doctor"]);
    assert_eq!(before.status.code(), Some(0), "a fresh machine: {before:?}");
    bed.configure(&place, "", "  small: {profile: small}\n");
    place.serve(&[]);
    place.ok(&["up"]);
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(place.data(), private).expect("mode");
    let config = place.folder.join("charter.yaml").display().to_string();
    let look = |place: &Place| {
        let output = place.charter(&["--config", &config, "--json", "doctor"]);
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        (output.status.code(), told.to_string())
    };
    let (code, told) = look(&place);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("SQLite") && told.contains("1 machines in use"), "{told}");
    place.stop_server();
    std::fs::write(place.folder.join("vast.key"), "wrong").expect("key");
    let (code, told) = look(&place);
    assert_eq!(code, Some(2), "{told}");
    std::fs::write(place.folder.join("vast.key"), &bed.key).expect("key");
    place.serve(&[]);
    place.ok(&["down", "--all"]);
}

#[test]
fn a_backup_of_another_installation_does_not_orphan_what_runs() {
    let bed = Bed::start("foreign-backup", &["--speed", "20"]);
    let (mut first, mut second) = (Place::bare("foreign-first"), Place::bare("foreign-second"));
    for place in [&mut first, &mut second] {
        bed.configure(place, "", "  small: {profile: small}\n");
        place.serve(&[]);
    }
    let file = first.folder.join("backup.db").display().to_string();
    first.ok(&["admin", "backup", &file]);
    second.ok(&["up"]);
    second.kill_server();
    let key = std::fs::read(second.data().join("installation.key")).expect("key");
    let refused = second.charter(&["admin", "restore", &file, "--replace"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("D0012"), "{refused:?}");
    // A damaged one changes nothing either, the key least of all.
    let mut bytes = std::fs::read(&file).expect("backup");
    let half = bytes.len() / 2;
    bytes[half..].fill(0xff);
    std::fs::write(&file, bytes).expect("damage");
    assert!(!second.charter(&["admin", "restore", &file, "--replace"]).status.success());
    assert_eq!(std::fs::read(second.data().join("installation.key")).expect("key"), key);
    second.serve(&[]);
    second.ok(&["down", "--all"]);
    bed.must_be_empty();
}

#[test]
fn panic_ends_what_it_can_although_the_file_or_a_provider_is_broken() {
    let bed = Bed::start("broken-panic", &["--speed", "20"]);
    let mut place = Place::bare("broken-panic");
    bed.configure(&place, "", "  small: {profile: small}\n");
    let config = place.folder.join("charter.yaml");
    let good = std::fs::read_to_string(&config).expect("file");
    let unusable = good.replace("providers:\n", "providers:\n    other: {kind: vast, api-key: {env: NOT_SET_AT_ALL}}\n");
    for broken in [unusable.as_str(), "server: [this is: no file", "version: 1\n"] {
        std::fs::write(&config, &good).expect("file");
        place.serve(&[]);
        place.ok(&["up"]);
        place.kill_server();
        std::fs::write(&config, broken).expect("file");
        let output = place.charter(&["--config", &config.display().to_string(), "panic"]);
        assert_eq!(alive(&bed), 0, "{broken}: {output:?}");
    }
    // A folder that never was an installation stays one.
    let fresh = Place::bare("broken-fresh");
    std::fs::create_dir_all(fresh.data()).expect("folder");
    std::fs::write(fresh.data().join("charter.db"), "").expect("file");
    std::fs::write(fresh.folder.join("charter.yaml"), &good).expect("file");
    let swept = fresh.charter(&["--config", &fresh.folder.join("charter.yaml").display().to_string(), "sweep"]);
    assert!(String::from_utf8_lossy(&swept.stderr).contains("D0004"), "{swept:?}");
}

#[test]
fn a_key_that_was_never_accepted_does_not_take_the_place_of_the_last_good_one() {
    let bed = Bed::start("typo", &["--speed", "20"]);
    let mut place = Place::bare("typo");
    bed.configure(&place, "", "  small: {profile: small}\n");
    place.serve(&[]);
    place.ok(&["up"]);
    place.stop_server();
    std::fs::write(place.folder.join("vast.key"), "a-typo").expect("key");
    place.serve(&[]);
    wait_until("the wrong key is refused", || place.server_log().contains("nothing new is rented there"));
    place.stop_server();
    std::fs::write(place.folder.join("charter.yaml"), "version: 1\n").expect("file");
    place.serve(&[]);
    place.ok(&["down", "--all"]);
    bed.must_be_empty();
}
