/** Operations that not every version of the client has. */
interface Part {
    /** Calls them below the existing node base; one and two are clients with sessions of their own. */
    void run(Client one, Client two, String base) throws Exception;
}
