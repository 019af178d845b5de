# The command lines of the differential run (lab/differ): one a line, `e` is the engine, $i its busybox image.
# Lines that follow one another without a blank line share their containers; behind a blank line there are none.

e run --rm $i true
e run --rm $i false
e run --rm $i sh -c 'exit 42'
e run --rm $i sh -c 'kill -9 $$'
e run --rm $i sh -c 'kill -TERM $$'
e run --rm $i nosuchprogram
e run --rm $i /etc
e run --rm $i sh -c 'echo out; echo err >&2'
echo input | e run --rm -i $i cat
echo input | e run --rm $i cat
e run --rm -t $i sh -c 'test -t 0 && stty size'
e run
e run --nosuchflag $i true
e run --rm localhost/nosuchimage:1 true
e nosuchverb

e run --rm -e A=1 -e B=two $i sh -c 'echo $A $B'
A=host e run --rm -e A $i sh -c 'echo $A'
e run --rm -e NOTSET $i sh -c 'echo "[${NOTSET-unset}]"'
printf 'X=1\n# c\nY=a b\n' >/tmp/envs; e run --rm --env-file /tmp/envs $i sh -c 'echo $X $Y'
e run --rm --env-file /nosuch $i true
e run --rm -w /tmp $i pwd
e run --rm -w /new/dir $i pwd
e run --rm -w relative $i pwd
e run --rm -u 1000 $i id
e run --rm -u user $i id
e run --rm -u user:root $i id
e run --rm -u 5:6 --group-add 7 $i id
e run --rm -u user --group-add more $i id
e run --rm -u nosuch $i id
e run --rm -h box $i hostname
e run --rm --entrypoint echo $i a b
e run --rm --entrypoint '' $i echo cleared
e run --rm --read-only $i touch /file
e run --rm --read-only --tmpfs /t $i sh -c 'touch /t/x && ls /t'
e run --rm --tmpfs /t:size=64k $i sh -c 'df -k /t | tail -n 1 | awk "{print \$2}"'
e run --rm --shm-size 1m $i sh -c 'df -k /dev/shm | tail -n 1 | awk "{print \$2}"'
e run --rm --init $i sh -c 'test $$ != 1 && echo not one'
e run --rm --ulimit nofile=100:200 $i sh -c 'ulimit -n; ulimit -Hn'
e run --rm --ulimit nosuch=1 $i true
e run --rm --add-host a.b:10.1.2.3 $i grep a.b /etc/hosts
e run --rm --dns 9.9.9.9 --dns-search example.org $i cat /etc/resolv.conf
e run --rm --network none $i sh -c 'ls /sys/class/net'
e run --rm --network nosuchnetwork $i true
e run --rm --cap-drop all $i grep CapEff /proc/self/status
e run --rm $i grep CapEff /proc/self/status
e run --rm --cap-add NET_ADMIN $i grep CapEff /proc/self/status
e run --rm --cap-add nosuch $i true
e run --rm --privileged $i sh -c 'test -w /proc/sys/kernel/hostname && echo writable'
e run --rm --security-opt no-new-privileges $i grep NoNewPrivs /proc/self/status
e run --rm --security-opt seccomp=unconfined $i grep '^Seccomp:' /proc/self/status
e run --rm $i grep '^Seccomp:' /proc/self/status
e run --rm --sysctl net.ipv4.ip_forward=1 $i cat /proc/sys/net/ipv4/ip_forward
e run --rm --sysctl kernel.nosuch=1 $i true
e run --rm --device /dev/fuse $i sh -c 'test -c /dev/fuse && echo there'
e run --rm --device /dev/nosuch $i true
e run --rm --pids-limit 100 $i true
e run --rm --memory 64m $i true
e run --rm --memory 1k $i true
e run --rm --cpus 0.5 $i true
e run --rm --oom-score-adj 500 $i cat /proc/self/oom_score_adj
e run --rm --umask 0077 $i sh -c umask
e run --rm --pid host $i sh -c 'test $$ != 1 && echo of the host'
e run --rm --ipc none $i sh -c 'test -d /dev/shm || echo no shm'
e run --rm --uts host $i hostname
e run --rm --log-driver none $i echo unlogged
e run --rm --pull never localhost/nosuch true
e run --rm --platform linux/amd64 $i uname -m
e run --rm -v relative/path:/x $i true
e run --rm -v /tmp/nosuchsource-$$:/x $i true
e run --rm -v /tmp:/x:bogus $i true
mkdir -p /tmp/d && echo inside >/tmp/d/f; e run --rm -v /tmp/d:/d $i cat /d/f
e run --rm -v /tmp/d:/d:ro $i touch /d/g
e run --rm --mount type=bind,source=/tmp/d,target=/d,readonly $i sh -c 'cat /d/f; touch /d/g'
e run --rm --mount type=bind,source=/tmp/nosuch,target=/d $i true
e run --rm --mount type=tmpfs,target=/t,tmpfs-size=64k $i sh -c 'df -k /t | tail -n 1 | awk "{print \$2}"'
e run --rm --mount type=nosuch,target=/t $i true
e run --rm --mount target=/t,type=volume $i touch /t/x

e run -d --name ca $i sleep 1000
e run -d --name ca $i sleep 1000
e ps --format '{{.Names}} {{.Image}} {{.Command}}'
e ps -q --filter name=nosuch
e ps --filter status=exited --format '{{.Names}}'
e ps --filter bogus=1
e exec ca echo hello
e exec ca sh -c 'exit 7'
e exec ca nosuchprogram
e exec -w /tmp -e A=1 -u user ca sh -c 'pwd; echo $A; id -un'
echo piped | e exec -i ca cat
e exec nosuch true
e exec -d ca touch /made
sleep 0.5; e exec ca ls /made
e inspect --format '{{.State.Status}} {{.State.Running}} {{.State.ExitCode}}' ca
e inspect --format '{{.Name}}' ca
e inspect --format '{{json .Config.Cmd}}' ca
e inspect --format '{{.HostConfig.NetworkMode}}' ca
e inspect --format '{{.RestartCount}}' ca
e inspect nosuch
e rename ca cb
e inspect --format '{{.State.Status}}' ca
e pause cb
e ps --filter status=paused --format '{{.Names}}'
e exec cb true
e pause cb
e unpause cb
e unpause cb
e top cb -o pid,comm | awk 'NR < 3 {print $2}'
e top nosuch
e update --memory 128m --memory-swap 256m cb
e restart -t 0 cb
e ps --format '{{.Names}} {{.State}}'
e kill -s USR1 cb
e kill -s NOSUCH cb
e kill nosuch
e rm cb
e stop -t 0 cb
e stop cb
e start cb
e rm -f cb
e rm cb
e rm -f cb

e create --name cc $i sh -c 'echo one; echo two >&2'
e start -a cc
e logs cc
e logs --tail 1 cc
e logs nosuch
e start nosuch
e wait cc
e wait nosuch
e ps -a --format '{{.Names}} {{.State}}'
e inspect --format '{{.State.ExitCode}}' cc
e diff cc
e cp cc:/etc/passwd - | tar -t
echo text >/tmp/text; e cp /tmp/text cc:/text
e cp cc:/text /tmp/text2; cat /tmp/text2
e cp cc:/nosuch /tmp/
e cp /tmp/nosuch cc:/
e commit cc localhost/made:1
e run --rm localhost/made:1 cat /text
e export cc | tar -t | grep -x text
e rm cc
e rmi localhost/made:1
e rmi localhost/made:1

e images --format '{{.Repository}}:{{.Tag}}'
e images -q --filter reference=nosuch
e tag $i localhost/other:2
e images --filter reference=localhost/other --format '{{.Tag}}'
e rmi localhost/other:2
e tag localhost/nosuch localhost/x
e image inspect --format '{{json .Config.Cmd}}' $i
e image inspect localhost/nosuch
e history --format '{{.Comment}}' $i
e save $i | tar -t | grep -c manifest.json
e image prune -f

e volume create vv
e volume create vv
e volume ls -q
e volume ls --format '{{.Name}} {{.Driver}}'
e volume inspect --format '{{.Name}} {{.Scope}}' vv
e run --rm -v vv:/v $i touch /v/kept
e run --rm -v vv:/v $i ls /v
e run --rm -v vv:/etc:nocopy $i ls /etc/passwd
e run -d --name cu -v vv:/v $i sleep 1000
e volume rm vv
e rm -f cu
e volume rm vv
e volume rm vv
e volume inspect vv
e volume prune -f

e network create nn
e network create nn
e network ls --filter name=^nn$ --format '{{.Name}} {{.Driver}}'
e run -d --name cs --network nn --network-alias alias $i sleep 1000
e run --rm --network nn $i sh -c 'nslookup cs >/dev/null && echo found'
e run --rm --network nn $i ping -c 1 -W 2 alias | grep -c '1 packets received'
e run --rm --network nn $i nslookup nosuchname.invalid
e network disconnect nn cs
e exec cs ls /sys/class/net
e network connect nn cs
e network rm nn
e rm -f cs
e network rm nn
e network rm nn
e network inspect nn
e network create --subnet 10.77.0.0/24 --gateway 10.77.0.9 mm
e run --rm --network mm --ip 10.77.0.5 $i sh -c 'ip -4 -o addr show eth0 | grep -o "10.77[^ ]*"'
e run --rm --network mm $i ip route
e run --rm --network mm --ip 10.78.0.5 $i true
e network rm mm

e run --name ch --health-cmd true --health-interval 1s -d $i sleep 1000
sleep 3; e inspect --format '{{.State.Health.Status}}' ch
e rm -f ch
e run -d --name cr --restart on-failure:2 $i sh -c 'exit 3'
sleep 4; e inspect --format '{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}' cr
e rm -f cr
e run --rm --restart always $i true
e run -d --name cl --label k=v --label other $i sleep 1000
e ps --filter label=k=v --format '{{.Names}}'
e inspect --format '{{.Config.Labels.k}}' cl
e port cl
e run -d --name cp1 -p 127.0.0.1:18099:80 $i httpd -f -p 80
e port cp1
e port cp1 80
e port cp1 81
e ps --filter name=^cp1$ --format '{{.Ports}}'
e rm -f cl cp1
e run -d -p 127.0.0.1:18098:80 --name cq $i sleep 1000
e run --rm -p 127.0.0.1:18098:80 $i true
e rm -f cq
e container prune -f
