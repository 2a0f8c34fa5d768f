# The agent: the first program of ours in every instance. POSIX sh; argv: WIRE END
#   WIRE  stdio | port:NAME (a virtio-serial port)     END  exit | poweroff (a guest)
# It answers   RUN <id> <deadline, whole seconds> <command>   (one line; what %b of printf unescapes)
# with         DONE <id> <status> <cpu> <uptime> <bytes of stdout> <bytes of stderr>   and then the raw bytes.
# It ends at BYE and at end of file: when the host's end is gone, nothing goes on working here.
# Few forks and nothing that sleeps, since all of this lies on the timed path.

# The same environment and limits in every technology, whatever the engine set.
unset HOSTNAME TERM SHLVL PWD OLDPWD container PS1 PS2 PS4
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/ LANG=C.UTF-8
umask 022
ulimit -c 0
ulimit -S -n 1024
spool=/run/tare

case $1 in
port:*)
    # The name appears a little after the driver has loaded; the port can be opened once only.
    port=
    while [ -z "$port" ]; do
        for entry in /sys/class/virtio-ports/*/name; do
            [ -r "$entry" ] || continue
            read -r name <"$entry"
            [ "$name" = "${1#port:}" ] && entry=${entry%/name} && port=/dev/${entry##*/} && break
        done
    done
    while [ ! -c "$port" ]; do :; done
    exec 3<>"$port" 4>&3
    ;;
*) exec 3<&0 4>&1 </dev/null >&2 ;;
esac

run() { # ID DEADLINE COMMAND
    command=$3
    case $command in *\\*) command=$(printf '%b.' "$3") && command=${command%.} ;; esac
    cd /work 2>/dev/null || cd /
    timeout -s KILL "$2" /bin/sh -c "$command" >"$spool/out" 2>"$spool/err" </dev/null 3<&- 4>&- &
    echo $! >"$spool/pid"
    wait $!
    status=$?
    times >"$spool/times"
    { read -r line && read -r user system; } <"$spool/times"
    read -r uptime line </proc/uptime
    if [ -s "$spool/out" ] || [ -s "$spool/err" ]; then
        sizes=$(stat -c %s "$spool/out" "$spool/err")
        echo DONE "$1" $status "$user+$system" "$uptime" $sizes >&4
        cat "$spool/out" "$spool/err" >&4
    else
        echo DONE "$1" $status "$user+$system" "$uptime" 0 0 >&4
    fi
    echo 0 >"$spool/pid" # gone: its number may be somebody else's by now
}

job=
read -r uptime line </proc/uptime
echo READY "$uptime" >&4
while IFS= read -r line <&3; do
    case $line in
    RUN\ *)
        [ -z "$job" ] || wait "$job" # reaps the last one: the host asks for one at a time
        line=${line#RUN }
        id=${line%% *} line=${line#* }
        : >"$spool/pid"
        run "$id" "${line%% *}" "${line#* }" &
        job=$!
        ;;
    BYE*) break ;;
    esac
done

if [ -n "$job" ]; then
    # what was asked for a moment ago has no number yet
    tries=0
    while [ ! -s "$spool/pid" ] && [ "$tries" -lt 100000 ]; do tries=$((tries + 1)); done
    if read -r pid <"$spool/pid" && [ "$pid" != 0 ]; then
        kill -KILL "$pid" "-$pid" 2>/dev/null # timeout leads a group of its own
    fi
    kill -KILL "$job" 2>/dev/null
fi
if [ "$2" = poweroff ]; then
    echo o >/proc/sysrq-trigger
    while :; do read -r line </dev/console; done
fi
exit 0
