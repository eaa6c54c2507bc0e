/** The systemd unit of the daemon. */

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
# Stopping the daemon leaves shims and containers alone, and their cgroups are its own affair.
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

/** A word of a command line as systemd reads it. */
function quote(word: string): string {
  const escaped = word.replace(/%/g, "%%").replace(/\$/g, "$$$$");
  return /^[A-Za-z0-9_/.:=@%$+-]+$/.test(escaped) ? escaped : `"${escaped.replace(/["\\]/g, "\\$&")}"`;
}
