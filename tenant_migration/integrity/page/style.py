"""How the page looks."""

from __future__ import annotations

STYLE = """
:root { --critical: #b3261e; --warning: #9a6700; --info: #0b57a4; --pass: #1a7f37; --line: #d0d7de; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2328; background: #fff; margin: 0 auto; padding: 24px;
       max-width: 1500px; }
h1 { font-size: 15px; font-weight: 600; margin: 0; color: inherit; }
h2 { font-size: 18px; margin: 32px 0 8px; }
.verdict { padding: 16px 20px; border-radius: 8px; color: #fff; }
.verdict strong { font-size: 26px; display: block; }
.verdict.fail { background: var(--critical); } .verdict.warning { background: var(--warning); }
.verdict.pass { background: var(--pass); }
.numbers { display: flex; flex-wrap: wrap; gap: 12px; margin: 12px 0 0; padding: 0; list-style: none; }
.numbers li { border: 1px solid var(--line); border-radius: 8px; padding: 6px 14px; }
.numbers b { font-size: 20px; margin-right: 6px; }
.glance { margin: 16px 0 0; padding: 0; list-style: none; }
.glance li { border-left: 5px solid var(--line); padding: 3px 12px; margin: 6px 0; background: #f6f8fa; }
.glance li.critical { border-color: var(--critical); background: #fbe5e3; }
.glance li.warning { border-color: var(--warning); background: #fdf5dc; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { border: 1px solid var(--line); padding: 5px 9px; text-align: left; vertical-align: top; }
th { background: #f6f8fa; font-weight: 600; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code, pre { font: 13px/1.45 ui-monospace, "DejaVu Sans Mono", monospace; }
code { white-space: pre-wrap; overflow-wrap: anywhere; background: #f6f8fa; border: 1px solid #e6e9ec;
       border-radius: 4px; padding: 0 3px; }
pre { background: #f6f8fa; padding: 10px; overflow-x: auto; margin: 6px 0; }
.badge { border-radius: 10px; padding: 1px 9px; font-size: 12px; font-weight: 600; color: #fff;
         white-space: nowrap; }
.badge.critical { background: var(--critical); } .badge.warning { background: var(--warning); }
.badge.info { background: var(--info); } .badge.note { background: #eaeef2; color: #1f2328; }
.unseen { color: var(--critical); font-weight: 700; }
.grid th { font-size: 13px; max-width: 170px; }
.grid th.tenant { position: sticky; left: 0; min-width: 250px; max-width: 420px; font-weight: 400; }
.grid td { text-align: center; min-width: 90px; }
.grid td.ok { color: var(--pass); } .grid td.pending { color: #656d76; background: #f6f8fa; }
.grid td.unknown { background: #fbe5e3; font-weight: 700; }
.grid td.critical { background: #fbd5d2; color: #7d1a14; font-weight: 700; }
.grid td.warning { background: #fdefc3; color: #5c3e00; font-weight: 700; }
.grid td.info { background: #dcebfb; color: #0b3d70; }
.grid small { display: block; font-weight: 400; }
small { color: inherit; opacity: .85; }
summary { cursor: pointer; }
footer { margin-top: 32px; color: #57606a; font-size: 13px; }
"""
