from retina_plugin.outputs import results_table
def finish(cfg, results): print(results_table(results))
