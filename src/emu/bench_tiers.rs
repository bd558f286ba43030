//! `trenvx emu bench tiers`: attach and first reply from each tier.

use std::net::SocketAddr;
use std::path::PathBuf;

use ::emu::bench_tiers::{Settings, Tier, run as measure};
use ::emu::functions::Places;
use clap::Args;

use crate::common::Folders;

#[derive(Debug, Args)]
pub struct TiersArgs {
    /// The function.
    #[arg(value_name = "NAME", default_value = "json-serde")]
    function: String,
    /// Only these tiers (dram, cxl-fsdax, cxl-node, cxl-devdax, rdma-lazy, rdma-batch, rdma-private, criu, criu-lazy);
    /// default: all.
    #[arg(long = "tier", value_name = "NAME", value_parser = tier)]
    tiers: Vec<Tier>,
    /// Starts from each tier.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    starts: u32,
    /// A file system on a CXL device (`emu pool device --mode fsdax --mount DIR`).
    #[arg(long, value_name = "DIR")]
    fsdax: Option<PathBuf>,
    /// A tmpfs of a node of CXL memory (`emu pool device --mode node --mount DIR`).
    #[arg(long, value_name = "DIR")]
    node: Option<PathBuf>,
    /// A CXL device as a whole (`emu pool device --mode devdax`, then `emu pool format`).
    #[arg(long, value_name = "DEVICE")]
    devdax: Option<PathBuf>,
    /// A pool that serves the templates on that device by RDMA (`emu pool serve --device`).
    #[arg(long, value_name = "HOST:PORT", requires = "key", requires = "devdax")]
    rdma: Option<SocketAddr>,
    /// File with that pool's key.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

fn tier(name: &str) -> Result<Tier, String> {
    Tier::ALL.into_iter().find(|tier| tier.name() == name).ok_or_else(|| {
        let known: Vec<&str> = Tier::ALL.iter().map(|tier| tier.name()).collect();
        format!("the tiers are {}", known.join(", "))
    })
}

/// Runs `trenvx emu bench tiers`: one line of JSON for each tier.
///
/// # Errors
/// If the function is not set up or cannot be captured.
pub fn run(folders: &Folders, args: TiersArgs) -> anyhow::Result<()> {
    let TiersArgs { function, tiers, starts, fsdax, node, devdax, rdma, key } = args;
    let tiers = if tiers.is_empty() { Tier::ALL.to_vec() } else { tiers };
    let places = Places::here(&folders.out)?;
    let rdma = rdma.zip(key);
    let settings = Settings { places, function, tiers, starts, fsdax, node, devdax, rdma };
    for row in measure(&settings).map_err(|error| anyhow::anyhow!("{error}"))? {
        println!("{}", serde_json::to_string(&row)?);
    }
    Ok(())
}
