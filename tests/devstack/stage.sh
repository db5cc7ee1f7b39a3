#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# stage.sh check|stack|unstack|clean
#
# What DevStack's stack.sh, unstack.sh and clean.sh do around a plugin, each in one shell as they do,
# with TOP_DIR/local.conf; check is the first phase of stack alone. TOP_DIR is a checkout of DevStack,
# whose own functions are then used; where it is none, the stand-ins are.

TOP_DIR=${TOP_DIR:-/opt/stack/devstack}
FILES=$TOP_DIR/files
HERE=$(dirname "$(readlink -f "$0")")
MODE=$1
set --

if [[ -e "$TOP_DIR/functions" ]]; then
    source "$TOP_DIR/functions"
    source "$TOP_DIR/lib/stack"
    GetDistro
    rm -f "$TOP_DIR/.localrc.auto"
    extract_localrc_section "$TOP_DIR/local.conf" "$TOP_DIR/localrc" "$TOP_DIR/.localrc.auto"
    source "$TOP_DIR/stackrc"
    disable_negated_services
    PYTHON=$(which "python$PYTHON3_VERSION")
    export PYTHON
    exec 3>&1 6>&1
    function echo_summary {
        echo "$@"
    }
    libraries="database rpc_backend host apache tls infra libraries lvm horizon keystone glance"
    libraries+=" nova placement cinder swift neutron ldap dstat atop tcpdump etcd3 os-vif"
else
    source "$HERE/standins.sh"
    libraries=""
fi
DATA_DIR=${DATA_DIR:-$DEST/data}
trap 'r=$?; echo "stage.sh: line $LINENO failed" >&2; exit $r' ERR
set -o errexit

mkdir -p "$DATA_DIR"
for library in $libraries; do
    if [[ "$library" == apache ]]; then
        run_phase override_defaults
    fi
    source "$TOP_DIR/lib/$library"
done
run_phase source

# What Neutron's plugin does to everybody in each phase.
SRIOV_AGENT_CONF=etc/neutron/plugins/ml2/sriov_agent.ini
SRIOV_AGENT_BINARY=/usr/local/bin/neutron-sriov-nic-agent

# As configure_neutron and create_nova_conf do, without a Neutron and a nova being installed.
function configure_others {
    sudo install -d -o "$STACK_USER" /etc/neutron /etc/neutron/plugins/ml2 /etc/nova
    iniset_rpc_backend neutron "$NEUTRON_CONF"
    neutron_plugin_configure_common
    Q_PLUGIN_CONF_FILE=$Q_PLUGIN_CONF_PATH/$Q_PLUGIN_CONF_FILENAME
    neutron_plugin_configure_service
    iniset "$NOVA_CONF" filter_scheduler enabled_filters "$NOVA_FILTERS"
}

case "$MODE" in
    check)
        run_phase stack pre-install
        ;;
    stack)
        if [[ -n "$libraries" ]]; then
            setup_devstack_virtualenv
            install_infra
        fi
        run_phase stack pre-install
        run_phase stack install
        configure_others
        run_phase stack post-config
        merge_config_group "$TOP_DIR/local.conf" post-config
        run_phase stack extra
        run_phase stack test-config
        ;;
    unstack | clean)
        run_phase unstack
        if [[ "$MODE" == clean ]]; then
            run_phase clean
            sudo rm -rf /etc/neutron /etc/nova "$DATA_DIR"
            sudo find "$SYSTEMD_DIR" -type f -name '*devstack@*service' -delete
            $SYSTEMCTL daemon-reload
        fi
        ;;
esac
