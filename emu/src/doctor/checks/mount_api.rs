//! The descriptor-based mount API: trees that are built apart and attached later.

use rustix::fs::{CWD, Mode};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsmount,
    fsopen, move_mount, open_tree,
};

use super::child::{At, run};
use super::private::{SCRATCH, enter_scratch, finding};
use super::{Finding, Host};

/// A tmpfs made by `fsopen` and a tree cloned by `open_tree` can be attached by `move_mount`.
pub(super) fn find(_: &Host) -> Finding {
    let outcome = run(|| {
        let means = enter_scratch()?;
        rustix::process::chdir(SCRATCH).at("enter tmpfs")?;
        for folder in ["new", "copy"] {
            rustix::fs::mkdirat(CWD, folder, Mode::from(0o755)).at("make folders")?;
        }
        let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).at("fsopen")?;
        fsconfig_create(&context).at("fsconfig")?;
        let made = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).at("fsmount")?;
        let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&made, "", CWD, "new", empty).at("move_mount")?;
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, "new", clone).at("open_tree")?;
        move_mount(&tree, "", CWD, "copy", empty).at("move_mount of a cloned tree")?;
        Ok(means as u64)
    });
    finding(&outcome, "fsopen, fsmount, open_tree, move_mount", "use Linux 5.2 or later")
}
