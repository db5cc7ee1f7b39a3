# SPDX-License-Identifier: Apache-2.0
#
# Thin stand-ins for what the plugin and stage.sh use of DevStack's functions. They write the same
# files and units as those do, and refuse what those have not: a service that is not enabled is not
# run, an unknown name is not found. Nothing is installed: setup_develop and the like are recorded
# in DATA_DIR/installed.

set -o nounset

DEST=/opt/stack
DATA_DIR=$DEST/data
STACK_USER=$(id -un)
DEVSTACK_VENV=$DATA_DIR/venv
SYSTEMD_DIR=/etc/systemd/system
SYSTEMCTL="sudo systemctl"
NEUTRON_CONF=/etc/neutron/neutron.conf
NOVA_CONF=/etc/nova/nova.conf
NOVA_FILTERS=ComputeFilter,ImagePropertiesFilter
ENABLE_DEBUG_LOG_LEVEL=True
DISABLED_SERVICES=
KEYSTONE_SERVICE_URI=http://127.0.0.1/identity
Q_PLUGIN_CONF_PATH=etc/neutron/plugins/ml2
Q_PLUGIN_CONF_FILENAME=ml2_conf.ini

function refuse {
    echo "stand-in: ${FUNCNAME[1]} $*: DevStack has no such call" >&2
    exit 64
}

function die {
    [[ $1 =~ ^[0-9]+$ && $# -gt 1 ]] || refuse "$@"
    echo "[ERROR] plugin.sh:$1 ${*:2}" >&2
    exit 1
}

function warn {
    [[ $1 =~ ^[0-9]+$ && $# == 2 ]] || refuse "$@"
    echo "[WARNING] plugin.sh:$1 $2"
}

function trueorfalse {
    [[ $# == 2 ]] || refuse "$@"
    case "${!2:-}" in
        1 | [yY]es | YES | [tT]rue | TRUE) echo True ;;
        0 | [nN]o | NO | [fF]alse | FALSE) echo False ;;
        *) echo "$1" ;;
    esac
}

function define_plugin {
    [[ $# == 1 ]] || refuse "$@"
}

function is_service_enabled {
    local service
    [[ $# -gt 0 ]] || refuse
    for service; do
        [[ ",$ENABLED_SERVICES," == *",$service,"* ]] && return 0
        [[ "$service" == neutron && ",$ENABLED_SERVICES" =~ ,(q-|neutron-) ]] && return 0
    done
    return 1
}

function enable_service {
    local service
    for service; do
        [[ ",$DISABLED_SERVICES," == *",$service,"* ]] && continue
        is_service_enabled "$service" || ENABLED_SERVICES+=,$service
    done
}

function disable_service {
    local service
    for service; do
        DISABLED_SERVICES+=,$service
        ENABLED_SERVICES=,$ENABLED_SERVICES,
        ENABLED_SERVICES=${ENABLED_SERVICES//,$service,/,}
    done
}

function disable_all_services {
    ENABLED_SERVICES=
}

function enable_plugin {
    [[ $# -ge 2 && $# -le 3 && "$1" == sriov-agent ]] || refuse "$@"
    PLUGIN_DIR=$DEST/$1
}

# ini FILE SECTION OPTION VALUE...: each value on a line of its own, in the place of what was there.
function ini {
    [[ -e "$1" ]] || touch "$1"
    python3 - "$@" <<'PYTHON'
import sys

file, section, option, *values = sys.argv[1:]
lines = open(file).read().splitlines()
if f"[{section}]" not in lines:
    lines += ["", f"[{section}]"]
start = lines.index(f"[{section}]") + 1
end = next((n for n in range(start, len(lines)) if lines[n].startswith("[")), len(lines))
kept = [line for line in lines[start:end] if line.split("=")[0].strip() != option]
lines[start:end] = [f"{option} = {value}" for value in values] + kept
open(file, "w").write("\n".join(lines) + "\n")
PYTHON
}

function iniset {
    [[ $# == 4 && "$1" == /* && -n "$2" && -n "$3" ]] || refuse "$@"
    ini "$@"
}

# DevStack's splits its values at spaces, too.
function iniset_multiline {
    [[ $# -ge 4 ]] || refuse "$@"
    # shellcheck disable=SC2068
    ini "$1" "$2" "$3" ${@:4}
}

function iniget {
    [[ $# == 3 ]] || refuse "$@"
    sed -n "/^\[$2\]/,/^\[/s/^$3 *= *//p" "$1"
}

function get_transport_url {
    echo "rabbit://$RABBIT_USERID:$RABBIT_PASSWORD@$RABBIT_HOST:5672/${1:-}"
}

function iniset_rpc_backend {
    [[ $# -ge 2 && $# -le 4 ]] || refuse "$@"
    iniset "$2" "${3:-DEFAULT}" transport_url "$(get_transport_url "${4:-}")"
}

function configure_keystoneauth {
    [[ $# == 3 ]] || refuse "$@"
    iniset "$1" "$3" auth_type password
    iniset "$1" "$3" auth_url "$KEYSTONE_SERVICE_URI"
    iniset "$1" "$3" username "$2"
    iniset "$1" "$3" password "$SERVICE_PASSWORD"
    iniset "$1" "$3" user_domain_name Default
    iniset "$1" "$3" project_name service
    iniset "$1" "$3" project_domain_name Default
}

function neutron_plugin_configure_common {
    [[ $# == 0 ]] || refuse "$@"
}

function neutron_plugin_configure_service {
    iniset "/$Q_PLUGIN_CONF_FILE" ml2 mechanism_drivers "$Q_ML2_PLUGIN_MECHANISM_DRIVERS"
    if [[ -n "${ML2_VLAN_RANGES:-}" ]]; then
        iniset "/$Q_PLUGIN_CONF_FILE" ml2_type_vlan network_vlan_ranges "$ML2_VLAN_RANGES"
    fi
}

function installed {
    echo "$*" >>"$DATA_DIR/installed"
}

function install_package {
    [[ $# -gt 0 ]] || refuse
    installed "install_package $*"
}

function pip_install {
    [[ $# -gt 0 ]] || refuse
    installed "pip_install $*"
}

function setup_develop {
    [[ $# -ge 1 && $# -le 2 && -e "$1/setup.cfg" ]] || refuse "$@"
    installed "setup_develop $*"
}

function get_python_exec_prefix {
    echo "$DEVSTACK_VENV/bin"
}

function run_process {
    local unit=$SYSTEMD_DIR/devstack@$1.service
    [[ $# -ge 2 && $# -le 5 && "$2" == /* && ! "$2" =~ sudo ]] || refuse "$@"
    is_service_enabled "$1" || return 0
    sudo touch "$unit"
    sudo chown "$STACK_USER" "$unit"
    iniset "$unit" Unit Description "Devstack devstack@$1.service"
    iniset "$unit" Service Environment "\"PATH=$PATH\""
    iniset "$unit" Service User "${4:-$STACK_USER}"
    iniset "$unit" Service ExecStart "$2"
    iniset "$unit" Service KillMode process
    iniset "$unit" Service TimeoutStopSec 300
    iniset "$unit" Service ExecReload "$(which kill) -HUP \$MAINPID"
    # DevStack's own loses the PATH here, too.
    [[ -z "${5:-}" ]] || iniset "$unit" Service Environment "$5"
    [[ -z "${3:-}" ]] || iniset "$unit" Service Group "$3"
    iniset "$unit" Install WantedBy multi-user.target
    $SYSTEMCTL daemon-reload
    $SYSTEMCTL enable "devstack@$1.service"
    $SYSTEMCTL start "devstack@$1.service"
}

function stop_process {
    [[ $# == 1 ]] || refuse "$@"
    is_service_enabled "$1" || return 0
    if $SYSTEMCTL is-enabled "devstack@$1.service"; then
        $SYSTEMCTL stop "devstack@$1.service"
        $SYSTEMCTL disable "devstack@$1.service"
    fi
}

function test_with_retry {
    [[ $# -ge 2 && $# -le 4 ]] || refuse "$@"
    timeout "${3:-10}" sh -c "while ! $1; do sleep ${4:-0.5}; done" || die 0 "$2"
}

# The lines of one [[GROUP|NAME]] of local.conf.
function section {
    awk -v "section=[[$1]]" '/^\[\[/ {in_it = $0 == section; next} in_it' "$TOP_DIR/local.conf"
}

function merge_config_group {
    local file name line group
    [[ $# == 2 ]] || refuse "$@"
    sed -n "s/^\[\[$2|\(.*\)\]\]$/\1/p" "$1" | while read -r name; do
        file=$(eval "echo $name")
        while read -r line; do
            case "$line" in
                "" | "#"*) ;;
                "["*) group=${line//[][]/} ;;
                *) iniset "$file" "$group" "$(echo ${line%%=*})" "$(echo ${line#*=})" ;;
            esac
        done < <(section "$2|$name")
    done
}

function run_phase {
    if [[ "$1" == source ]]; then
        source "$PLUGIN_DIR/devstack/settings"
    else
        source "$PLUGIN_DIR/devstack/plugin.sh" "$@"
    fi
}

source <(section "local|localrc")
RABBIT_USERID=${RABBIT_USERID:-stackrabbit}
if is_service_enabled rabbit; then
    RABBIT_HOST=${RABBIT_HOST:-$HOST_IP}
fi
Q_ML2_PLUGIN_MECHANISM_DRIVERS=${Q_ML2_PLUGIN_MECHANISM_DRIVERS:-ovn}
