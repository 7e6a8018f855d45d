//! Several users in one store: no read of one shows anything of another.
//!
//! Run it with `cargo run -p umi-core --example many_users`.

#![allow(clippy::print_stdout, reason = "an example prints what it finds")]

use std::error::Error;

use umi_core::{Memory, Scope};

const SAID: [(&str, &str); 3] = [
    ("alice", "My passport number is kept in the blue folder."),
    ("bob", "My passport expires in August."),
    ("carol", "I have never had a passport."),
];

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let memory = Memory::open(folder.path()).await?;
    for (user, text) in SAID {
        memory.remember(text).user(user)?.await?;
    }

    for (user, _) in SAID {
        let found = memory.recall("What about my passport?").user(user)?.await?;
        let said: Vec<&str> = found.iter().map(|hit| hit.entity.content.as_str()).collect();
        println!("{user}: {said:?}");
        // An id of another user is an id that does not exist.
        for (other, _) in SAID {
            let read = memory.get(&found[0].entity.id.to_string(), &Scope::new().with_user(other)?).await?;
            assert_eq!(read.is_some(), other == user);
        }
    }

    // A handle for one request is pinned to its user: a bug in a handler cannot reach another.
    let alice = memory.scoped(&Scope::new().with_user("alice")?)?;
    if let Err(error) = alice.recall("passport").user("bob")?.await {
        println!("refused: {error}");
    }

    // No user is a tenant of its own, never "all".
    println!("without a user: {} found", memory.recall("passport").await?.len());

    let bob = Scope::new().with_user("bob")?;
    println!("forgotten of bob: {}", memory.forget_scope(false, &bob).await?);
    memory.purge().await?; // no byte of it is left in the folder
    for (user, _) in SAID {
        println!("left of {user}: {}", memory.count(&Scope::new().with_user(user)?).await?);
    }
    memory.close().await?;
    Ok(())
}
