#include "process.h"

#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int process_run(const char *const *argv, char *line, size_t room) {
    int fd[2];
    line[0] = 0;
    if (pipe(fd)) return PROCESS_NOT_STARTED;
    pid_t pid;
    posix_spawn_file_actions_t fa;
    int e = posix_spawn_file_actions_init(&fa);
    if (!e) {
        e = posix_spawn_file_actions_adddup2(&fa, fd[1], 2);
        if (!e) e = posix_spawn_file_actions_addclose(&fa, fd[0]);
        if (!e) e = posix_spawnp(&pid, argv[0], &fa, NULL, (char *const *)argv, environ);
        posix_spawn_file_actions_destroy(&fa);
    }
    close(fd[1]);
    if (e) {
        close(fd[0]);
        end_if_no_memory(e);
        errno = e;
        return PROCESS_NOT_STARTED;
    }
    size_t n = 0;
    ssize_t got;
    while (n + 1 < room && (got = read(fd[0], line + n, room - 1 - n)) > 0) n += (size_t)got;
    char drop[512];
    while (read(fd[0], drop, sizeof drop) > 0) continue; // so that it never waits for a reader
    close(fd[0]);
    line[n] = 0;
    line[strcspn(line, "\n")] = 0;
    int st;
    while (waitpid(pid, &st, 0) < 0 && errno == EINTR) continue;
    if (WIFEXITED(st)) return WEXITSTATUS(st);
    snprintf(line, room, "%s was stopped by signal %d; most likely it was out of memory", argv[0], WTERMSIG(st));
    return PROCESS_STOPPED;
}

// In the new process, between fork and exec: only what is safe there.
static _Noreturn void become(const char *const *argv, int log, pid_t parent, const sigset_t *mask) {
    static const int ends[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction a;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (sigaction(ends[i], NULL, &a) == 0 && a.sa_handler != SIG_IGN) signal(ends[i], SIG_DFL); // nohup stays
    int nothing = open("/dev/null", O_RDONLY);
    bool ok = nothing >= 0 && dup2(nothing, 0) >= 0 && dup2(log, 1) >= 0 && dup2(log, 2) >= 0;
    if (nothing > 2) close(nothing);
    if (log > 2) close(log);
    // A parent that has ended by now sends no signal any more.
    if (ok && prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 && getppid() == parent) {
        sigprocmask(SIG_SETMASK, mask, NULL);
        execv(argv[0], (char *const *)argv);
    }
    _exit(127);
}

bool process_start(const char *const *argv, int log, volatile pid_t *slot) {
    sigset_t all, mask;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &mask);
    const pid_t parent = getpid();
    const pid_t child = fork();
    const int e = errno;
    if (child == 0) become(argv, log, parent, &mask);
    if (child > 0) *slot = child;
    sigprocmask(SIG_SETMASK, &mask, NULL);
    if (child < 0) end_if_no_memory(e);
    errno = e;
    return child > 0;
}

pid_t process_wait(int *status, int *by) {
    int st;
    pid_t child;
    while ((child = waitpid(-1, &st, 0)) < 0 && errno == EINTR) continue;
    if (child < 0) return 0;
    *by = WIFSIGNALED(st) ? WTERMSIG(st) : 0;
    *status = WIFEXITED(st) ? WEXITSTATUS(st) : PROCESS_STOPPED;
    return child;
}
