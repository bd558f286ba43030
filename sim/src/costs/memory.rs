//! Which memory class each part of a function's memory falls into, and what pools and nodes hold.

use super::{Template, bypasses, guest_working_set, missed, through_page_cache};
use configs::spec::{Machine, Spec};
use platform::memory::{Behaviour, ByClass, Content, MemoryClass};
use platform::profile::Profile;
use platform::system::{Dedup, Isolation, PageSource, State, System};
use std::collections::BTreeMap;
use traces::{Bytes, Duration, Pages};

/// What one instance holds alone.
pub(super) struct MemoryPlan {
    /// From the beginning of its start on.
    pub started: ByClass,
    /// What its first invocation adds.
    pub touched: ByClass,
    /// What the promotion of its read-only pages adds.
    pub promoted: ByClass,
    /// What is left of it when only the runtime is kept.
    pub runtime: ByClass,
}

impl MemoryPlan {
    pub(super) fn new(system: &System, machine: &Machine, profile: &Profile) -> Self {
        let image = profile.pages.image();
        let footprint = image.footprint().bytes();
        let (read, written) =
            (image.with(Behaviour::ReadOnly).bytes(), image.with(Behaviour::Written).bytes());
        let made = profile.pages.footprint().bytes() - footprint;
        let own = |bytes| one(MemoryClass::InstancePrivate, bytes);
        let copied = |bytes| one(MemoryClass::CopiedOnWrite, bytes);
        let (mut started, touched) = match (system.state, system.pages) {
            (State::Boot | State::Ready | State::CriuCopy, _) => (own(footprint), own(made)),
            (State::CriuLazy | State::RemoteFork, _) | (State::Attach, PageSource::Rdma) => {
                (ByClass::default(), own(made + read + written))
            }
            (State::WorkingSetPrefetch, _) => (own(read + written), own(made)),
            (State::VmCopy, _) => (own(machine.vm.guest_size), ByClass::default()),
            (State::Attach, PageSource::RdmaPrefetch) => {
                let late = missed(machine, image.working_set()).bytes();
                (own(read + written - late), own(made + late))
            }
            (State::Attach, PageSource::Tiered) => {
                let late = missed(machine, image.with(Behaviour::ReadOnly)).bytes();
                (ByClass::default(), own(made + late).with(&copied(written)))
            }
            (State::Attach | State::WorkingSetRegions | State::VmMap, _) => {
                (ByClass::default(), own(made).with(&copied(written)))
            }
            (State::ZygoteFork, _) => {
                let loaded = of_content(profile, Content::Function).bytes();
                let shared = image.get(Content::Runtime, Behaviour::Written)
                    + image.get(Content::Library, Behaviour::Written);
                (own(loaded), own(made).with(&copied(shared.bytes())))
            }
        };
        if system.isolation == Isolation::MicroVm {
            started.add(MemoryClass::GuestOverhead, machine.vm.vmm_memory + machine.vm.guest_memory);
            // A copied guest holds its page cache in its memory already.
            if !bypasses(system) && system.state != State::VmCopy {
                started.add(MemoryClass::GuestPageCache, profile.file_pages.bytes());
            }
        }
        let promoted = match (system.reads_in_place(), system.pages) {
            (false, _) => ByClass::default(),
            // Those that came late are in local memory already.
            (true, PageSource::Tiered) => {
                own(read - missed(machine, image.with(Behaviour::ReadOnly)).bytes())
            }
            (true, _) => own(read),
        };
        Self { started, touched, promoted, runtime: own(profile.runtime_pages().bytes()) }
    }
}

fn one(class: MemoryClass, bytes: Bytes) -> ByClass {
    let mut by_class = ByClass::default();
    by_class.add(class, bytes);
    by_class
}

fn of_content(profile: &Profile, content: Content) -> Pages {
    Behaviour::ALL.iter().map(|&behaviour| profile.pages.get(content, behaviour)).sum()
}

/// File pages that a node's page cache holds once for all sandboxes of a profile. Guests of the
/// container baselines have them in the memory of their snapshots; those on virtio-blk read them
/// through the host's page cache as well.
pub(super) fn shared_files(system: &System, profile: &Profile) -> Bytes {
    let on_the_node = match system.isolation {
        Isolation::Container => true,
        Isolation::MicroVm => matches!(system.state, State::VmMap | State::VmCopy),
    };
    if on_the_node { profile.file_pages.bytes() } else { Bytes::ZERO }
}

/// What a node holds once for all sandboxes of a function: its image, where that is in the node's own
/// memory or page cache.
pub(super) fn shared_image(system: &System, machine: &Machine, profile: &Profile) -> Bytes {
    if !through_page_cache(system.pages) {
        return Bytes::ZERO;
    }
    let image = profile.pages.image();
    match (system.state, system.pages) {
        (State::CriuCopy | State::CriuLazy, PageSource::Dram) => image.footprint().bytes(),
        (State::VmCopy | State::WorkingSetPrefetch, PageSource::Dram) => {
            machine.vm.guest_size.scale(1.0 - machine.vm.snapshot_zero)
        }
        (State::Attach, PageSource::Dram) => image.footprint().bytes(),
        (State::Attach, _) => image.working_set().bytes(),
        (State::VmMap | State::WorkingSetRegions, _) => guest_working_set(machine, profile).bytes(),
        _ => Bytes::ZERO,
    }
}

/// Where the function's template lies, and how much of it others have in common with it.
pub(super) fn template(system: &System, machine: &Machine, profile: &Profile) -> Template {
    let image = profile.pages.image();
    let footprint = image.footprint().bytes();
    let guest = machine.vm.guest_size;
    let whole = match system.state {
        State::Boot | State::Ready | State::ZygoteFork | State::RemoteFork => Bytes::ZERO,
        State::CriuCopy | State::CriuLazy | State::Attach => footprint,
        // The baselines keep whole snapshots; templates leave zero pages out.
        State::WorkingSetPrefetch | State::WorkingSetRegions | State::VmCopy => guest,
        State::VmMap => guest.scale(1.0 - machine.vm.snapshot_zero),
    };
    let mut template = Template::default();
    match system.pages {
        PageSource::Cxl => template.cxl = whole,
        PageSource::Rdma | PageSource::RdmaPrefetch => template.rdma = whole,
        PageSource::Tiered => {
            template.cxl = image.working_set().bytes().min(whole);
            template.rdma = whole - template.cxl;
        }
        PageSource::Dram | PageSource::Ssd | PageSource::Nas => {}
    }
    if system.dedup == Dedup::AcrossFunctions && system.state == State::Attach {
        // Libraries are taken to be as much the same in functions of a runtime as the runtime itself.
        let alike = of_content(profile, Content::Runtime) + of_content(profile, Content::Library);
        let share = machine.restore.identical * alike.bytes().0 as f64 / footprint.0.max(1) as f64;
        template.common = template.cxl.scale(share);
        template.cxl -= template.common;
    }
    let fill = |bytes: Bytes| {
        machine.nas.read_4k + Duration::from_secs_f64(bytes.0 as f64 / machine.nas.bandwidth as f64)
    };
    (template.fill_cxl, template.fill_rdma) = (fill(template.cxl), fill(template.rdma));
    template
}

/// What every node holds for the zygotes it keeps: one for each runtime, with the most libraries that
/// any function of it loads.
pub(super) fn zygotes(system: &System, spec: &Spec) -> Bytes {
    if system.state != State::ZygoteFork {
        return Bytes::ZERO;
    }
    let mut of_runtime: BTreeMap<&str, Pages> = BTreeMap::new();
    for profile in spec.profiles.values() {
        let loaded = of_content(profile, Content::Runtime) + of_content(profile, Content::Library);
        let most = of_runtime.entry(&profile.runtime).or_default();
        *most = (*most).max(loaded);
    }
    of_runtime.values().map(|pages| pages.bytes()).sum()
}

/// What the parent of a function's remote forks holds: one for the whole cluster.
pub(super) fn parent(system: &System, profile: &Profile) -> Bytes {
    match system.state {
        State::RemoteFork => profile.pages.image().footprint().bytes(),
        _ => Bytes::ZERO,
    }
}
