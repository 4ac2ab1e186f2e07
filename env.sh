down () 
{ 
    kill -TERM $(cat /tmp/rev5/pid);
    while [ -d /proc/$(cat /tmp/rev5/pid) ]; do
        sleep 0.3;
    done
}
