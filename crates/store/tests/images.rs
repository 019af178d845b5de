//! Images from content to rows, and back to nothing.

use std::collections::BTreeMap;

use gamut_spec::{Fault, Kind};
use gamut_store::db::{Container, DbError, Image};
use gamut_store::gc::{Force, ImageTarget, Removed};
use gamut_store::snapshot::{Driver, Lower};
use gamut_store::{Digest, Durability, Store, StoreError};

use crate::bench::{Scratch, Tar, listed, sha256};

/// An image of these layers.
pub(crate) fn image_of(layers: &[&[u8]]) -> (Image, Vec<u8>, Vec<u8>) {
    let diff_ids: Vec<_> = layers.iter().map(|tar| sha256(tar)).collect();
    let config = format!("{{\"config\": {diff_ids:?}}}").into_bytes();
    let manifest = format!("{{\"manifest\": {diff_ids:?}}}").into_bytes();
    let image = Image {
        id: sha256(&config),
        manifest_digest: sha256(&manifest),
        manifest_media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        config_media_type: "application/vnd.oci.image.config.v1+json".into(),
        layers: diff_ids,
        size_bytes: 1,
        created_ns: -1,
        pulled_ns: 1_600_000_000_123_456_789,
    };
    (image, config, manifest)
}

/// What a pull does.
pub(crate) fn record(scratch: &mut Scratch, reference: &str, layers: &[&[u8]]) -> Image {
    let (image, config, manifest) = image_of(layers);
    let unpacked: Vec<_> = layers
        .iter()
        .map(|tar| scratch.unpack(tar).expect("unpacked").0)
        .collect();
    let blobs =
        [&config, &manifest].map(|blob| scratch.store.blobs().put_bytes(blob).expect("put"));
    let digest = format!(
        "{}@{}",
        reference.rsplit_once(':').expect("a tag").0,
        image.manifest_digest
    );
    scratch
        .store
        .record_image(
            &image,
            &[reference, &digest],
            &unpacked,
            &blobs,
            Durability::Process,
        )
        .expect("recorded");
    image
}

pub(crate) fn container(name: &str, image: &Image) -> Container {
    Container {
        id: sha256(name.as_bytes()).hex().to_owned(),
        name: name.to_owned(),
        image_id: Some(image.id.clone()),
        image_ref: "a:1".into(),
        created_ns: 1,
        level: "container".into(),
        request: "{}".into(),
        labels: BTreeMap::from([("k".into(), "v \"quoted\"".into())]),
        auto_remove: true,
        pod: None,
    }
}

fn content(scratch: &Scratch) -> (usize, usize) {
    let blobs = listed(&scratch.root().join("blobs/sha256")).len();
    (scratch.layer_names().len(), blobs)
}

fn untagged(reference: &str) -> Removed {
    Removed::Untagged(reference.to_owned())
}

fn deleted(digest: &Digest) -> Removed {
    Removed::Deleted(digest.clone())
}

const A: &str = "docker.io/library/a:1";

#[test]
fn an_image_is_recorded_found_and_mountable() {
    let mut scratch = Scratch::new();
    let layers = [
        Tar::new().file("a", "1").end(),
        Tar::new().file("b", "2").end(),
    ];
    let image = record(&mut scratch, A, &[&layers[0], &layers[1]]);
    let db = scratch.store.db();
    assert_eq!(
        db.image_by_reference(A).expect("found").as_ref(),
        Some(&image)
    );
    assert_eq!(db.image(&image.id).expect("found").as_ref(), Some(&image));
    let short = db.image_by_prefix(&image.id.short()).expect("found");
    assert_eq!(short.as_ref(), Some(&image));
    let long = db.image_by_prefix(&image.id.to_string()).expect("found");
    assert_eq!(long.as_ref(), Some(&image));
    for prefix in ["", "sha256:", "xyz", "%", &"0".repeat(65)] {
        assert_eq!(
            db.image_by_prefix(prefix).expect("looked up"),
            None,
            "{prefix}"
        );
    }
    assert_eq!(
        db.image_by_reference("docker.io/library/a:2")
            .expect("looked up"),
        None
    );
    let digest = format!("docker.io/library/a@{}", image.manifest_digest);
    assert_eq!(
        db.image_by_reference(&digest).expect("found").as_ref(),
        Some(&image)
    );
    assert_eq!(
        db.names(&image.id).expect("listed"),
        (vec![A.to_owned()], vec![digest])
    );
    let records = scratch.store.image_layers(&image).expect("all known");
    let diff_ids: Vec<_> = records
        .iter()
        .map(|record| record.diff_id.clone())
        .collect();
    assert_eq!(diff_ids, image.layers);
    let mount = scratch
        .store
        .snapshots(Driver::Overlay)
        .prepare("c", &records)
        .expect("prepared");
    let shows = |index: usize, name: &str| match &mount.lower[index] {
        Lower::Directory(path) => path.join(name).exists(),
        Lower::Image(image) => panic!("{image:?}"),
    };
    assert!(shows(0, "b") && shows(1, "a"));
}

#[test]
fn the_same_layer_may_be_in_an_image_twice() {
    let mut scratch = Scratch::new();
    let (a, b) = (
        Tar::new().file("a", "1").end(),
        Tar::new().file("b", "2").end(),
    );
    let image = record(&mut scratch, A, &[&a, &b, &a]);
    let records = scratch.store.image_layers(&image).expect("all known");
    assert_eq!(records.len(), 3);
    assert_eq!(records[0], records[2]);
}

#[test]
fn an_image_is_not_recorded_without_its_content() {
    let mut scratch = Scratch::new();
    let tar = Tar::new().file("a", "1").end();
    let (image, ..) = image_of(&[&tar]);
    let none = scratch
        .store
        .record_image(&image, &[A], &[], &[], Durability::Process);
    assert!(
        matches!(none, Err(StoreError::LayerMissing { .. })),
        "{none:?}"
    );
    let (layer, _) = scratch.unpack(&tar).expect("unpacked");
    let none = scratch
        .store
        .record_image(&image, &[A], &[layer], &[], Durability::Power);
    assert_eq!(none.expect_err("refused").kind(), Kind::NotFound);
    assert_eq!(scratch.store.db().images().expect("listed"), []);
}

#[test]
fn removing_the_last_tag_removes_the_image_and_its_content() {
    let mut scratch = Scratch::new();
    let (a, b) = (
        Tar::new().file("a", "1").end(),
        Tar::new().file("b", "2").end(),
    );
    let image = record(&mut scratch, A, &[&a, &b]);
    let other = record(&mut scratch, "docker.io/library/b:1", &[&a]);
    assert_eq!(content(&scratch), (2, 4));
    let tag = "docker.io/library/a:other";
    scratch
        .store
        .db_mut()
        .write(|tx| tx.tag(tag, &image.id))
        .expect("tagged");
    let removed = scratch
        .store
        .remove_image(ImageTarget::Reference(tag), Force::Refuse);
    assert_eq!(removed.expect("removed"), [untagged(tag)]);
    let removed = scratch
        .store
        .remove_image(ImageTarget::Reference(A), Force::Refuse);
    let digest = format!("docker.io/library/a@{}", image.manifest_digest);
    let chain = sha256(format!("{} {}", image.layers[0], image.layers[1]).as_bytes());
    let expected = [
        untagged(A),
        untagged(&digest),
        deleted(&image.id),
        deleted(&chain),
    ];
    assert_eq!(
        removed.expect("removed"),
        expected,
        "the lower layer is the other image's too"
    );
    assert_eq!(content(&scratch), (1, 2));
    let removed = scratch
        .store
        .remove_image(ImageTarget::Id(&other.id), Force::Refuse);
    assert_eq!(removed.expect("removed").len(), 4);
    assert_eq!(content(&scratch), (0, 0));
    let gone = scratch
        .store
        .remove_image(ImageTarget::Id(&other.id), Force::Refuse);
    assert_eq!(gone.expect_err("gone").kind(), Kind::NotFound);
    let gone = scratch
        .store
        .remove_image(ImageTarget::Reference(A), Force::Refuse);
    assert_eq!(gone.expect_err("gone").kind(), Kind::NotFound);
}

#[test]
fn a_pull_moves_a_tag_and_leaves_the_old_image() {
    let mut scratch = Scratch::new();
    let old = record(&mut scratch, A, &[&Tar::new().file("a", "1").end()]);
    let new = record(&mut scratch, A, &[&Tar::new().file("a", "2").end()]);
    let db = scratch.store.db();
    assert_eq!(db.image_by_reference(A).expect("found"), Some(new));
    assert_eq!(db.names(&old.id).expect("listed").0, [""; 0]);
    assert!(db.image(&old.id).expect("looked up").is_some());
    let removed = scratch
        .store
        .remove_image(ImageTarget::Id(&old.id), Force::Refuse);
    assert!(removed.expect("removed").contains(&deleted(&old.id)));
}

#[test]
fn an_image_in_use_stays() {
    let mut scratch = Scratch::new();
    let image = record(&mut scratch, A, &[&Tar::new().file("a", "1").end()]);
    let made = container("c", &image);
    scratch
        .store
        .db_mut()
        .write(|tx| tx.insert_container(&made))
        .expect("recorded");
    for target in [ImageTarget::Reference(A), ImageTarget::Id(&image.id)] {
        let error = scratch
            .store
            .remove_image(target, Force::Refuse)
            .expect_err("in use");
        assert_eq!(error.kind(), Kind::Conflict);
        assert!(error.to_string().contains(&made.id[..12]), "{error}");
    }
    let removed = scratch
        .store
        .remove_image(ImageTarget::Reference(A), Force::Untag);
    let removed = removed.expect("untagged");
    assert!(
        removed.iter().all(|r| matches!(r, Removed::Untagged(_))),
        "{removed:?}"
    );
    assert_eq!(content(&scratch), (1, 2));
    scratch
        .store
        .db_mut()
        .write(|tx| tx.remove_container(&made.id))
        .expect("removed");
    let removed = scratch
        .store
        .remove_image(ImageTarget::Id(&image.id), Force::Refuse);
    assert_eq!(removed.expect("removed").len(), 2);
    assert_eq!(content(&scratch), (0, 0));
}

#[test]
fn tags_in_several_repositories_need_force() {
    let mut scratch = Scratch::new();
    let image = record(&mut scratch, A, &[&Tar::new().file("a", "1").end()]);
    let other = "example.com/b:1";
    scratch
        .store
        .db_mut()
        .write(|tx| tx.tag(other, &image.id))
        .expect("tagged");
    let error = scratch
        .store
        .remove_image(ImageTarget::Id(&image.id), Force::Refuse);
    let error = error.expect_err("refused");
    assert!(
        matches!(error, StoreError::Db(DbError::ImageTagged { .. })),
        "{error}"
    );
    let removed = scratch
        .store
        .remove_image(ImageTarget::Id(&image.id), Force::Untag);
    assert_eq!(removed.expect("removed").len(), 5);
}

#[test]
fn what_a_pull_has_pinned_is_not_collected() {
    let mut scratch = Scratch::new();
    let tar = Tar::new().file("a", "1").end();
    let (image, config, manifest) = image_of(&[&tar]);
    let (layer, _) = scratch.unpack(&tar).expect("unpacked");
    let blobs =
        [&config, &manifest].map(|blob| scratch.store.blobs().put_bytes(blob).expect("put"));
    let mut other = Store::open(scratch.root()).expect("opened");
    other.collect_garbage().expect("collected");
    assert_eq!(content(&scratch), (1, 2));
    let (layers, names) = ([layer], [A]);
    scratch
        .store
        .record_image(&image, &names, &layers, &blobs, Durability::Process)
        .expect("recorded");
    drop((layers, blobs));
    other.collect_garbage().expect("collected");
    assert_eq!(content(&scratch), (1, 2));
    let ingest = scratch
        .store
        .ingests()
        .resume(&image.id, None)
        .expect("started");
    other.collect_garbage().expect("collected");
    assert_eq!(listed(&scratch.root().join("ingest")).len(), 1);
    drop(ingest);
    drop(
        scratch
            .unpack(&Tar::new().file("b", "").end())
            .expect("unpacked"),
    );
    drop(scratch.store.blobs().put_bytes(b"unneeded").expect("put"));
    other.collect_garbage().expect("collected");
    assert_eq!(content(&scratch), (1, 2));
    assert_eq!(listed(&scratch.root().join("ingest")), [""; 0]);
}

#[test]
fn two_pulls_of_one_layer_end_with_one() {
    let scratch = Scratch::new();
    let tar = (0..300)
        .fold(Tar::new(), |tar, i| tar.file(&format!("f{i}"), "x"))
        .end();
    let (root, tar) = (scratch.root(), &tar);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                let store = Store::open(root).expect("opened");
                let options = gamut_store::unpack::UnpackOptions::default();
                let result = crate::bench::unpack(&store, tar, tar, crate::bench::TAR, &options);
                let (layer, _) = result.unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(listed(&store.layers().tree(&layer.record)).len(), 300);
            });
        }
    });
    assert_eq!(scratch.layer_names().len(), 1);
}
