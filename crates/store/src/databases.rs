//! The stores on their real databases: the conformance suite on each, and what only a database can get wrong.

use crate::conformance::{intent, opening, run};
use crate::connection::Row;
use crate::copy::{Purpose, TABLES, cells, copy};
use crate::database::Database;
use crate::mem::Mem;
use crate::migrations::{POSTGRES, SQLITE};
use crate::port::{Commit, Error, NewIntent, Store};
use charter_domain::time::Time;
use std::collections::BTreeMap;
use std::sync::Arc;

#[path = "../tests/support/postgres.rs"]
mod postgres;
use postgres::Postgres;

fn scratch(name: &str) -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("charter-store-{name}-{}", std::process::id()));
    std::fs::remove_dir_all(&dir).ok();
    std::fs::create_dir_all(&dir).expect("scratch folder");
    dir
}

#[tokio::test]
async fn the_store_in_memory_conforms() {
    run(Arc::new(Mem::default())).await;
}

#[tokio::test]
async fn sqlite_conforms_and_survives_being_opened_again() {
    let dir = scratch("conform");
    let file = dir.join("charter.db");
    let store = Arc::new(Database::open(&file).await.expect("open"));
    run(Arc::clone(&store) as Arc<dyn Store>).await;
    store.close().await;
    let again = Database::open(&file).await.expect("open again");
    assert_eq!(again.installation("cccccccc").await.expect("read"), "aaaaaaaa");
    assert!(again.deployment("a").await.expect("read").is_some());
    again.close().await;
    std::fs::remove_dir_all(&dir).expect("clean up");
}

#[tokio::test]
async fn postgres_conforms_and_survives_a_crash_of_its_server() {
    let mut server = Postgres::start("conform");
    let store = Arc::new(Database::connect(&server.url()).await.expect("connect").with_the_callers_clock());
    run(Arc::clone(&store) as Arc<dyn Store>).await;
    server.crash();
    let again = Database::connect(&server.url()).await.expect("connect again");
    assert_eq!(again.installation("cccccccc").await.expect("read"), "aaaaaaaa");
    assert!(again.deployment("a").await.expect("read").is_some());
    // The pool that saw the crash finds its way back by itself.
    assert_eq!(store.installation("dddddddd").await.expect("read"), "aaaaaaaa");
}

#[tokio::test]
async fn leases_count_with_the_clock_of_the_shared_database() {
    let server = Postgres::start("lease");
    let store = Database::connect(&server.url()).await.expect("connect");
    store.installation("aaaaaaaa").await.expect("first");
    store.commit(opening()).await.expect("open");
    // The clock of the first runs an hour behind the one of the second.
    let (behind, ahead) = (Time(1_000_000), Time(4_600_000));
    assert_eq!(store.claim("one", behind, Time(1_060_000), 5).await.expect("claim").len(), 1);
    assert!(store.claim("two", ahead, Time(4_660_000), 5).await.expect("claim").is_empty());
    store.abandon_leases("").await.expect("free");
    assert_eq!(store.claim("one", behind, Time(1_000_001), 5).await.expect("claim").len(), 1);
    let mut asked = 0;
    while store.claim("two", behind, Time(1_060_000), 5).await.expect("claim").is_empty() {
        asked += 1;
        assert!(asked < 10_000, "a lease of a millisecond must end");
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_without_it() {
    let server = Postgres::start("password");
    let url = server.url().replace("p%40ss", "secret-word");
    let error = Database::connect(&url).await.expect_err("refused").to_string();
    assert!(error.contains("password authentication failed") && !error.contains("secret-word"), "{error}");
    let error = Database::connect("postgres://u:hidden@127.0.0.1:1/x").await.expect_err("nobody").to_string();
    assert!(!error.contains("hidden"), "{error}");
}

/// Tables with their columns, each with "may be empty".
type Schema = BTreeMap<String, Vec<(String, bool)>>;

#[tokio::test]
async fn both_databases_have_the_same_tables_columns_and_versions() {
    use sqlx::Row as _;
    let names = |all: &[(i64, &'static str, &'static str)]| all.iter().map(|(n, name, _)| (*n, *name)).collect::<Vec<_>>();
    assert_eq!(names(SQLITE), names(POSTGRES));
    let dir = scratch("parity");
    let file = dir.join("charter.db");
    Database::open(&file).await.expect("open").close().await;
    let pool = sqlx::SqlitePool::connect_with(sqlx::sqlite::SqliteConnectOptions::new().filename(&file)).await.expect("raw");
    let text = "SELECT m.name, c.name, c.\"notnull\" = 0 AND c.pk = 0 FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'";
    let mut sqlite = Schema::new();
    for row in sqlx::query(text).fetch_all(&pool).await.expect("columns") {
        sqlite.entry(row.get(0)).or_default().push((row.get(1), row.get::<i64, _>(2) == 1));
    }
    let server = Postgres::start("parity");
    Database::connect(&server.url()).await.expect("connect").close().await;
    let pool = sqlx::PgPool::connect(&server.url()).await.expect("raw");
    let text = "SELECT table_name::text, column_name::text, is_nullable = 'YES' FROM information_schema.columns WHERE table_schema = 'public'";
    let mut postgres = Schema::new();
    for row in sqlx::query(text).fetch_all(&pool).await.expect("columns") {
        postgres.entry(row.get(0)).or_default().push((row.get(1), row.get(2)));
    }
    for schema in [&mut sqlite, &mut postgres] {
        schema.retain(|name, _| !name.starts_with("_sqlx") && !name.starts_with("sqlite_"));
        schema.values_mut().for_each(|columns| columns.sort());
    }
    assert_eq!(sqlite, postgres);
    assert!(sqlite.len() > 8, "{sqlite:?}");
    std::fs::remove_dir_all(&dir).expect("clean up");
}

#[test]
fn copies_hold_every_table_and_every_column() {
    for (table, columns) in TABLES.iter().map(|t| (t.name, t.kinds.len())) {
        let text = SQLITE.iter().map(|(_, _, text)| *text).collect::<String>();
        assert!(text.contains(&format!("CREATE TABLE {table}")) || text.contains(&format!("RENAME TO {table};")), "{table}");
        assert!(columns > 1);
    }
}

#[tokio::test]
async fn everything_is_copied_from_one_kind_of_database_to_the_other_and_back() {
    let (dir, server) = (scratch("copy"), Postgres::start("copy"));
    let first = Arc::new(Database::open(&dir.join("first.db")).await.expect("open"));
    run(Arc::clone(&first) as Arc<dyn Store>).await;
    let shared = Database::connect(&server.url()).await.expect("connect");
    let there = copy(&first, &shared, Purpose::Move, "2").await.expect("copy");
    let second = Database::open(&dir.join("second.db")).await.expect("open");
    assert_eq!(copy(&shared, &second, Purpose::Move, "2").await.expect("copy").deployments, there.deployments);
    for table in TABLES {
        let (a, b) = (first.read(table.read, vec![]).await.expect("a"), second.read(table.read, vec![]).await.expect("b"));
        let text = |rows: &[Row]| {
            let mut all: Vec<String> = rows.iter().map(|r| format!("{:?}", cells(r, table.kinds))).collect();
            all.sort();
            all
        };
        let (mut a, b) = (text(&a), text(&b));
        if table.name == "intents" {
            // Leases do not travel.
            assert_eq!(a.len(), b.len());
            continue;
        }
        if table.name == "meta" {
            a.retain(|row| !row.contains("pulse") && !row.contains("epoch"));
            assert!(a.iter().all(|row| b.contains(row)), "{a:?} {b:?}");
            continue;
        }
        assert_eq!(a, b, "{}", table.name);
    }
    // Who knew the database before it was written anew writes nothing any more.
    let woken = Database::connect(&server.url()).await.expect("connect");
    copy(&second, &shared, Purpose::Move, "3").await.expect("copy");
    assert!(woken.commit(Commit::default()).await.expect_err("another life").to_string().contains("restored or moved"));
    let shared = Database::connect(&server.url()).await.expect("connect");
    // Numbers go on after the copied ones.
    let fact = charter_domain::fact::Fact {
        at: Time(9),
        deployment: charter_domain::ids::DeploymentId::new("a"),
        replica: None,
        text: "new".into(),
    };
    shared.commit(Commit { facts: vec![fact], ..Commit::default() }).await.expect("another fact");
    std::fs::remove_dir_all(&dir).expect("clean up");
}

#[tokio::test]
async fn a_restored_backup_repeats_no_order_and_uses_no_number_twice() {
    let dir = scratch("restore");
    let first = Database::open(&dir.join("first.db")).await.expect("open");
    first.commit(opening()).await.expect("open");
    let second = Database::open(&dir.join("second.db")).await.expect("open");
    copy(&first, &second, Purpose::Restore { backup_at: Time(50), now: Time(80) }, "2").await.expect("restore");
    let replica = second.replicas(None).await.expect("read")[0].0.state.clone();
    assert_eq!((replica.attempt, replica.tried(), replica.refused), (1000, 0, 0));
    let restored = second.meta("restored", "").await.expect("read");
    assert_eq!(restored, r#"{"backup_at":50,"restored_at":80,"open":{"r":0}}"#);
    std::fs::remove_dir_all(&dir).expect("clean up");
}

async fn claimed_once(store: Arc<Database>) {
    store.installation("aaaaaaaa").await.expect("first");
    store.commit(opening()).await.expect("open");
    let open = (0..400).map(|n| NewIntent { intent: intent(&format!("n{n}"), "r", 10), claimed: None }).collect();
    store.commit(Commit { open, ..Commit::default() }).await.expect("fill");
    let claimers = (0..8).map(|n| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut mine = vec![];
            loop {
                let some = store.claim(&n.to_string(), Time(10), Time(600_000), 7).await.expect("claim");
                if some.is_empty() {
                    return mine;
                }
                mine.extend(some.into_iter().map(|c| c.intent.id));
            }
        })
    });
    let mut all = vec![];
    for claimer in claimers.collect::<Vec<_>>() {
        all.extend(claimer.await.expect("claimer"));
    }
    let total = all.len();
    all.sort();
    all.dedup();
    assert_eq!((total, all.len()), (401, 401));
}

#[tokio::test]
async fn eight_claimers_share_four_hundred_intents_without_a_double() {
    let dir = scratch("claim");
    claimed_once(Arc::new(Database::open(&dir.join("charter.db")).await.expect("open"))).await;
    std::fs::remove_dir_all(&dir).expect("clean up");
    let server = Postgres::start("claim");
    claimed_once(Arc::new(Database::connect(&server.url()).await.expect("connect"))).await;
}

#[tokio::test]
async fn a_database_of_a_newer_charter_is_refused_with_its_number() {
    let dir = scratch("newer");
    let file = dir.join("charter.db");
    Database::open(&file).await.expect("open").close().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file);
    let pool = sqlx::SqlitePool::connect_with(options).await.expect("raw");
    let newer =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (99, 'x', 1, x'00', 0)";
    sqlx::query(newer).execute(&pool).await.expect("pretend");
    pool.close().await;
    assert!(matches!(Database::open(&file).await, Err(Error::TooNew { found: 99, known: 9 })));
    std::fs::remove_dir_all(&dir).expect("clean up");
}
