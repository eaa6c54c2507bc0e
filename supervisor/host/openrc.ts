/** The OpenRC script of the daemon. */

/**
 * The text of /etc/init.d/berthd.
 * @param directory where berth and berthd are
 * @param config path of the configuration, when it is not where berthd looks anyway
 */
export function openrcOf(directory: string, config?: string): string {
  const flags = config === undefined ? "" : ` --config ${quote(config)}`;
  return `#!/sbin/openrc-run
# Written by \`berth install --openrc\`. Settings of your own belong into /etc/conf.d/berthd.

name="berthd"
description="berth container supervisor"
supervisor="supervise-daemon"
command=${quote(`${directory}/berthd`)}
command_args=${config === undefined ? '""' : quote(`--config ${quote(config)}`)}
output_log="\${output_log:-/var/log/berthd.log}"
error_log="\${error_log:-/var/log/berthd.log}"
# Restarted for ever: containers go on without it, but nobody could reach them.
respawn_delay="\${respawn_delay:-1}"
respawn_max=0
retry="TERM/30/KILL/5"
rc_ulimit="\${rc_ulimit:--n 1048576}"
# Stopping the daemon leaves shims and containers alone.
rc_cgroup_cleanup="no"
extra_started_commands="reload"
description_reload="read the level of the log anew"

depend() {
	need localmount
	use net dns logger
	after bootmisc cgroups firewall modules
}

start_pre() {
	modprobe -q overlay 2>/dev/null
	return 0
}

stop_pre() {
	# The machine goes down: containers end in order, each in its time. Otherwise they go on.
	if yesno "\${RC_GOINGDOWN:-no}"; then
		ebegin "Stopping containers"
		${quote(`${directory}/berth`)} shutdown${flags}
		eend $?
	fi
	return 0
}

reload() {
	ebegin "Reloading \${RC_SVCNAME}"
	supervise-daemon "\${RC_SVCNAME}" --signal HUP
	eend $?
}
`;
}

/** A word for the shell, in double quotes. */
function quote(word: string): string {
  return `"${word.replace(/[\\"$`]/g, "\\$&")}"`;
}
