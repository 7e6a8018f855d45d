//! What the context costs, without Python: `cargo bench -p umi-core --bench refs -- refs/get`.
//!
//! `bench/bench_context.py` holds the same operations to their budgets through the bindings.

use std::{fmt::Write as _, hint::black_box, path::PathBuf, time::Duration};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use umi_core::{
    Clock, Metadata, SystemClock,
    context::{Context, Kind, Layout, NewItem},
    new_id,
};

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    ids(&mut criterion);
    add(&mut criterion);
    get(&mut criterion);
    render(&mut criterion);
    not_found(&mut criterion);
    mixed(&mut criterion);
    criterion.final_summary();
}

fn path(index: usize) -> PathBuf {
    format!("/home/ana/projects/whiteboard/assets/2026/{index:06}.jpg").into()
}

fn file(index: usize) -> NewItem {
    NewItem::known_file(path(index), Kind::Image)
}

fn image() -> NewItem {
    NewItem::bytes(vec![0; 16], "image/png").expect("a media type")
}

fn metadata() -> Metadata {
    Metadata::parse(r#"{"note":"hero shot","summary":"a whiteboard with a plan","tags":["meeting","plan"]}"#)
        .expect("a JSON object")
}

fn filled(items: usize) -> Context {
    let context = Context::new();
    for index in 0..items {
        context.add(file(index)).expect("there is room");
    }
    context
}

fn ids(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("refs/make_ref_id");
    for kind in Kind::ALL {
        let context = Context::new();
        group.bench_function(BenchmarkId::from_parameter(kind), |bench| {
            bench.iter_batched(
                || NewItem::known_file(PathBuf::from("/a"), kind),
                |item| {
                    let ref_id = context.add(item).expect("there is room");
                    context.remove(&ref_id.text())
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
    criterion.bench_function("refs/uuid7", |bench| bench.iter(|| new_id(SystemClock.now()).to_string()));
}

fn add(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("refs/add_path");
    for items in [100, 1_000, 10_000, 100_000] {
        group.throughput(Throughput::Elements(items as u64));
        group.bench_function(BenchmarkId::from_parameter(items), |bench| bench.iter(|| filled(items)));
    }
    group.finish();
    let mut group = criterion.benchmark_group("refs/add_inmem");
    for items in [1_000_u64, 10_000] {
        group.throughput(Throughput::Elements(items));
        group.bench_function(BenchmarkId::from_parameter(items), |bench| {
            bench.iter(|| {
                let context = Context::new();
                for _ in 0..items {
                    context.add(image()).expect("there is room");
                }
                context
            });
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("refs/add_with_metadata");
    for items in [1_000_usize, 10_000] {
        group.throughput(Throughput::Elements(items as u64));
        group.bench_function(BenchmarkId::from_parameter(items), |bench| {
            bench.iter(|| {
                let context = Context::new();
                for index in 0..items {
                    context.add(file(index).with_metadata(metadata())).expect("there is room");
                }
                context
            });
        });
    }
    group.finish();
}

fn get(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("refs/get_hit");
    for items in [1_000, 10_000, 100_000] {
        let context = filled(items);
        let refs: Vec<String> = context.snapshot().iter().map(|item| item.ref_id().to_string()).collect();
        let mut next = (0..refs.len()).cycle();
        group.bench_function(BenchmarkId::from_parameter(items), |bench| {
            bench.iter(|| context.read(&refs[next.next().unwrap_or_default()], umi_core::context::Item::role));
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("refs/get_miss");
    for items in [1_000, 10_000] {
        let context = filled(items);
        group.bench_function(BenchmarkId::from_parameter(items), |bench| {
            bench.iter(|| context.get(black_box("txt_000000")).is_err());
        });
    }
    group.finish();
}

fn render(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("refs/render_tree_insertion");
    for items in [100, 1_000, 10_000] {
        let context = filled(items);
        group.bench_function(BenchmarkId::from_parameter(items), |bench| {
            bench.iter(|| context.snapshot().tree(Layout::Insertion));
        });
    }
    group.finish();
    let context = Context::new();
    for index in 0..1_000 {
        context.add(file(index).with_metadata(metadata())).expect("there is room");
    }
    criterion.bench_function("refs/render_tree_insertion_with_meta/1000", |bench| {
        bench.iter(|| context.snapshot().tree(Layout::Insertion));
    });
    let mut group = criterion.benchmark_group("refs/repr_markdown");
    for items in [100, 1_000, 10_000] {
        let context = filled(items);
        group.bench_function(BenchmarkId::from_parameter(items), |bench| bench.iter(|| context.snapshot().summary()));
    }
    group.finish();
    let context = Context::new();
    for index in 0..1_000 {
        let mut text = format!("# Title {index}\n");
        let _ = write!(text, "{}", "words and more words ".repeat(20));
        context.add(NewItem::text(text)).expect("there is room");
    }
    criterion.bench_function("refs/to_md_with_contents/1000", |bench| bench.iter(|| context.to_md()));
}

fn not_found(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("refs/ref_not_found_message");
    for items in [100, 1_000, 10_000] {
        let context = filled(items);
        group.bench_function(BenchmarkId::from_parameter(items), |bench| {
            bench.iter(|| context.not_found(black_box("img_a1b2cZ")).to_string());
        });
    }
    group.finish();
    let context = filled(10_000);
    criterion.bench_function("refs/closest_ref_10k", |bench| {
        bench.iter(|| context.not_found(black_box("img_a1b2cZ")).closest());
    });
}

fn mixed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("refs/mixed_add_get_render");
    for items in [1_000, 10_000] {
        let context = filled(items);
        let mut index = items;
        group.bench_function(BenchmarkId::from_parameter(items), |bench| {
            bench.iter(|| {
                index += 1;
                let ref_id = context.add(file(index)).expect("there is room").text();
                let item = context.get(&ref_id).expect("it was added");
                let shown = (context.snapshot().summary(), context.snapshot().tree(Layout::Insertion));
                context.remove(&ref_id).expect("it was added");
                (item, shown)
            });
        });
    }
    group.finish();
}
