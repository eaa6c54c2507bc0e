/** The systemd units of the daemon, and of the containers at the machine's end. */

/**
 * The text of berthd.service.
 * @param executable path of berthd
 * @param config path of the configuration, when it is not where berthd looks anyway
 */
export function unitOf(executable: string, config?: string): string {
  const flags = config === undefined ? "" : ` --config ${quote(config)}`;
  return `[Unit]
Description=berth container supervisor
After=network.target local-fs.target
# Ends the containers when the machine goes down, before the daemon and the network go.
Wants=berth-containers.service
# Restarted for ever: containers go on without it, but nobody could reach them.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStartPre=-/sbin/modprobe overlay
ExecStart=${quote(executable)}${flags}
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=1
TimeoutStartSec=5min
TimeoutStopSec=30
WatchdogSec=2min
# Stopping the daemon leaves shims and containers alone, and their cgroups are its own affair. Shims end at once on SIGTERM.
KillMode=process
Delegate=yes
OOMScoreAdjust=-999
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity

[Install]
WantedBy=multi-user.target
`;
}

/**
 * The text of berth-containers.service. Process 1 of a container that has no handler for SIGTERM does not see it: without
 * this unit the last step of a shutdown would wait a minute and a half for such containers, and then kill them.
 * @param executable path of berth
 * @param config path of the configuration, when it is not where berthd looks anyway
 */
export function containersUnitOf(executable: string, config?: string): string {
  const berth = `${quote(executable)} shutdown${config === undefined ? "" : ` --config ${quote(config)}`}`;
  return `[Unit]
Description=containers of berth, ended in order when the machine goes down
# What starts after the daemon is stopped before it.
After=berthd.service
# Stopping or restarting the daemon alone leaves this running, and with it the containers.

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=-${berth} --cancel
ExecStop=-${berth}
TimeoutStopSec=5min

[Install]
WantedBy=multi-user.target
`;
}

/** A word of a command line as systemd reads it. */
function quote(word: string): string {
  const escaped = word.replace(/%/g, "%%").replace(/\$/g, "$$$$");
  return /^[A-Za-z0-9_/.:=@%$+-]+$/.test(escaped) ? escaped : `"${escaped.replace(/["\\]/g, "\\$&")}"`;
}
