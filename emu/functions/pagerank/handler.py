"""Makes a random graph by preferential attachment and ranks its nodes, with igraph."""

import random
import threading

import igraph

# igraph has one generator for all threads, which each thread has to be told of.
DRAWING = threading.Lock()


def handle(given):
    with DRAWING:
        # A seed of the request's own: the same graph each time, where the published function makes another.
        igraph.set_random_number_generator(random.Random(given["nodes"]))
        graph = igraph.Graph.Barabasi(given["nodes"], given["out"])
    return graph, graph.pagerank()


def describe(result):
    graph, ranks = result
    top = sorted(range(len(ranks)), key=lambda node: -ranks[node])[:10]
    return {
        "nodes": graph.vcount(),
        "edges": graph.ecount(),
        "sum": sum(ranks),
        "top": top,
        "top_ranks": [ranks[node] for node in top],
        "residual": residual(graph, ranks, top),
    }


def residual(graph, ranks, nodes, damping=0.85):
    """How far the ranks of `nodes` are from what their neighbours' ranks say that they must be: the equation of
    the ranks, written out, so that the check does not rest on the library that solved it. The graph is undirected
    and has no node without neighbours."""
    degrees = graph.degree()
    worst = 0.0
    for node in nodes:
        expected = (1 - damping) / len(ranks)
        expected += damping * sum(ranks[other] / degrees[other] for other in graph.neighbors(node))
        worst = max(worst, abs(expected - ranks[node]) / ranks[node])
    return worst
