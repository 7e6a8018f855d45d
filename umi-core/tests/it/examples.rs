//! Every example runs and prints what it promises.

use std::{cell::RefCell, collections::BTreeSet, error::Error, fmt};

thread_local! {
    static PRINTED: RefCell<String> = const { RefCell::new(String::new()) };
}

fn print(line: fmt::Arguments<'_>) {
    PRINTED.with_borrow_mut(|printed| {
        printed.push_str(&line.to_string());
        printed.push('\n');
    });
}

/// Stands in the modules below for the standard one, so that the examples need no writer for the tests' sake.
macro_rules! println {
    ($($line:tt)*) => {
        crate::examples::print(format_args!($($line)*))
    };
}

#[path = "../../examples/contradiction_and_history.rs"]
mod contradiction_and_history;
#[path = "../../examples/conversation_and_jobs.rs"]
mod conversation_and_jobs;
#[path = "../../examples/core_and_working_memory.rs"]
mod core_and_working_memory;
#[path = "../../examples/facts_that_change.rs"]
mod facts_that_change;
#[path = "../../examples/many_users.rs"]
mod many_users;
#[path = "../../examples/quickstart.rs"]
mod quickstart;
#[path = "../../examples/your_own_model.rs"]
mod your_own_model;

/// Runs an example and looks for what it has to print, in this order.
fn check(example: fn() -> Result<(), Box<dyn Error>>, expected: &[&str]) {
    PRINTED.take();
    example().unwrap();
    let printed = PRINTED.take();
    let mut rest = printed.as_str();
    for text in expected {
        let (_, behind) =
            rest.split_once(text).unwrap_or_else(|| panic!("`{text}` is not, or not there, in:\n{printed}"));
        rest = behind;
    }
}

#[test]
fn every_example_is_in_this_file() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    let names: BTreeSet<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(!names.is_empty());
    for name in names {
        let included = format!("#[path = \"../../examples/{}\"]", name.to_string_lossy());
        assert!(include_str!("examples.rs").contains(&included), "{} is not tested", name.display());
    }
}

#[test]
fn quickstart_recalls_and_renders() {
    check(
        quickstart::main,
        &[
            "remembered 3 turns of 2026-03-02",
            "What is Tarek allergic to?",
            "allergic to pine dust",
            "What kind of work does Nadia do?",
            "runs a pottery studio",
            "When does the studio open?",
            "the second of May",
            "<memory>\n<core_memory>",
            "You are Juno",
            "it has to be oak",
            "</memory>",
        ],
    );
}

#[test]
fn core_and_working_memory_survive_a_restart() {
    check(
        core_and_working_memory::main,
        &[
            "<block type=\"human\" label=\"Nadia\" importance=\"0.90\">",
            "  1: Open the studio in April.\n  2: Open the studio on the second of May.\n",
            "restored: Open the studio in April.",
            "<entry key=\"draft\">Dear Tarek, the shelves are beautiful.</entry>",
            "after two minutes: [\"visitors\"], draft: None",
            "after a restart: Open the studio in April. Visitor number 41 comes in.",
        ],
    );
}

#[test]
fn many_users_see_their_own() {
    check(
        many_users::main,
        &[
            "alice: [\"My passport number is kept in the blue folder.\"]",
            "bob: [\"My passport expires in August.\"]",
            "refused: ",
            "without a user: 0 found",
            "forgotten of bob: 1",
            "left of alice: 1\nleft of bob: 0\nleft of carol: 1\n",
        ],
    );
}

#[test]
fn facts_that_change_keep_their_history() {
    check(
        facts_that_change::main,
        &[
            "update: ",
            "now:     works at Initech (since 2024)",
            "in 2020: works at Acme Corp\nin 2022: works at Globex\n",
            "2019 to 2021  works at Acme Corp\n  2021 to 2024  works at Globex\n  2024 to now   works at Initech\n",
            "updated: works at Initech as head of design",
            "because: update, ",
            "after forgetting it: works at Initech\n",
        ],
    );
}

#[test]
fn conversation_and_jobs_lose_no_facts() {
    check(
        conversation_and_jobs::main,
        &[
            "remembered 2 turns",
            "extract failed: the model did not answer",
            "waits: extract, 1 failure",
            "found meanwhile: Pine makes Tarek sneeze.",
            "the same episodes: true",
            "jobs run: 2",
            "fact: Tarek is allergic to pine dust\nfact: Nadia opens her studio on 2 May\n",
        ],
    );
}

#[test]
fn contradictions_are_decided_and_told() {
    check(
        contradiction_and_history::main,
        &[
            "update: her diet has changed",
            "contradict: one is born in one place",
            "now:\n  Ines eats meat again\n  Albin was born in Tallinn\n",
            "in March: Ines eats no meat (until 09 May)",
            "    Ines eats no meat -> Ines eats meat again: her diet has changed",
            "  ! Albin was born in Riga -> Albin was born in Tallinn: one is born in one place",
        ],
    );
}

#[test]
fn models_of_ones_own_find_facts() {
    check(
        your_own_model::main,
        &["-> Tarek lives in Lisbon", "-> Tarek lives in Porto", "-> update", "now: Tarek lives in Porto\n"],
    );
}
