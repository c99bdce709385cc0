"""Facade of FlowStone: the operations for the command line, pages and Python code.

Configuration and runtime do not know each other; they meet here, in the wiring. Everything is
imported on first use, because ``flowstone check`` needs neither a database nor an engine.

flowstone: the facade: one attribute for each noun, and the short forms
sensors: list, pause, resume, reset and dry-run sensors
schedules: add, update, pause, resume, remove and list schedules
schedule_factory: builds schedules from stored records, checks the options of new ones
materializations: request, list, retry and cancel materializations
backfills: plan and run backfills
status: sensors and schedules with their health
explainer: looks up what the store knows of one name
sensor_sentences: the sentences of a sensor's explanation
explanation_sentences: those of a schedule and of a materialization
phrases: parts of sentences that these share
dry_run: polls and connection checks that commit nothing
maintenance: upgrade, back up and check a store; installed plugins
lookup: the error for an unknown name
wiring: builds the parts of a running process
"""
